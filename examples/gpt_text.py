"""A small GPT that learns to write like a text, byte by byte, as a plain DDP script.

    torchrun --nproc-per-node 2 examples/gpt_text.py --text my.txt
    firetree run --workers 2 examples/gpt_text.py

Without a text it reads firetree's own documentation.
"""

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

DOCS = Path(__file__).parents[1] / "docs"
BYTES, LENGTH = 256, 128


class GPT(nn.Module):
    """Bytes to what comes after each of them: (B, T) to (B, T, 256)."""

    def __init__(self, width: int, layers: int):
        super().__init__()
        self.bytes, self.places = nn.Embedding(BYTES, width), nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(
            width,
            width // 32,
            4 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, BYTES, bias=False)

    def forward(self, text):
        x = self.bytes(text) + self.places.weight[: text.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(text.shape[1], text.device)
        return self.head(self.norm(self.layers(x, mask, is_causal=True)))


@torch.no_grad()
def continued(model: nn.Module, start: str, count: int, device: torch.device) -> str:
    text = torch.tensor([list(start.encode())], device=device)
    for _ in range(count):
        logits = model(text[:, -LENGTH:])[:, -1]
        text = torch.cat([text, torch.multinomial(logits.softmax(-1), 1)], dim=1)
    return bytes(text[0].tolist()).decode(errors="replace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", type=Path, nargs="+", default=sorted(DOCS.glob("*.md")))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=16, help="of each worker")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    options = parser.parse_args()
    text = b"".join(path.read_bytes() for path in options.text)
    if len(text) <= LENGTH:
        raise SystemExit(f"the text has {len(text)} bytes; expected more than {LENGTH}")
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()

    dist.init_process_group()
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    torch.manual_seed(0)
    model = DistributedDataParallel(GPT(options.width, options.layers).to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    torch.manual_seed(dist.get_rank())  # each worker reads other parts
    for step in range(1, options.steps + 1):
        starts = torch.randint(len(data) - LENGTH, (options.batch_size, 1))
        parts = data[starts + torch.arange(LENGTH + 1)].to(device)
        optimizer.zero_grad()
        logits = model(parts[:, :-1])
        loss = cross_entropy(logits.flatten(0, 1), parts[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        if dist.get_rank() == 0 and (step % 50 == 0 or step == options.steps):
            print(f"step {step}: loss {loss:.3f}")
    if dist.get_rank() == 0:
        print(continued(model.module.eval(), "The network ", 200, device))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
