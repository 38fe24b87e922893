"""The trainer: one loop for every model, and the checkpoint from which it goes on."""

from hyvae.training.checkpoint import Checkpointing, checkpoint_path, describe_job, job_hash
from hyvae.training.trainer import EpochReport, History, epochs_by_held_out, train

__all__ = [
    "Checkpointing",
    "EpochReport",
    "History",
    "checkpoint_path",
    "describe_job",
    "epochs_by_held_out",
    "job_hash",
    "train",
]
