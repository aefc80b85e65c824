"""The command `firetree`: one file a verb, with its options, texts and pages; nothing imports it."""
