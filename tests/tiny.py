"""A search of seconds on tiny synthetic clips, pre-training included, as overrides of the command line."""

TINY = [
    "gpu=cpu",
    "gpu.threads=1",
    "logger=none",
    "dataset.size=[64,64]",
    "dataset.clips=12",
    "dataset.val_clips=4",
    "phase.pretrain.epochs=1",
    "phase.pretrain.batch_size=4",
    "phase.pretrain.transform.crop=[64,64]",
    "phase.search.transform.crop=[64,64]",
    "phase.search.epochs=2",
    "phase.search.trials=4",
]
