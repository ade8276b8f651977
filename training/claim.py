"""What a training makes sure of before hours of work: its folder is its own, places can be written to, the data is that it
began with."""
from pathlib import Path

from runtime.files import check_writable
from runtime.lock import hold
from training.same_data import check_data
from training.tracking import package


def claim(config, stages, pairs, data_changed=False):
    """Makes the run's folder this process's until it ends. stages: those that will be trained.

    UserError where train.track names what is not installed, another process trains there, a place cannot be written to, or a
    run goes on with other pairs than it began with and nobody said that it may.
    """
    places = [config.train.run]
    places += [Path(config.data.cache).parent] if {"unet", "distil"} & {*stages} else []
    places += [Path(config.autoencoder.path).parent] if "autoencoder" in stages else []
    package(config.train.track)
    check_writable(*places)
    hold(config.train.run, "training")
    for stage in stages:
        check_data(config.train.run, stage, pairs, data_changed)
