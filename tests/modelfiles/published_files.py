"""Where the published weights and images are, for tests that need them."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "shared/data"
V1_1 = DATA / "weights/squeezenet_v1_1_caffe_fp16.safetensors"
V1_0 = DATA / "weights/squeezenet_v1_0_deep_compression.net"
PICTURES = DATA / "imagenet_sample/validation-00000-of-00001.parquet"
NAMES = DATA / "imagenet_sample/synset_words.txt"

needs_weights = pytest.mark.skipif(
    not (V1_0.exists() and V1_1.exists()), reason=f"published weights not at {V1_0.parent}"
)
needs_images = pytest.mark.skipif(not PICTURES.exists(), reason=f"no images at {PICTURES}")
