"""Trains IIDM: the autoencoder when there is none, the latent cache, then the U-Net (Algorithm 1)."""
import argparse

from configs.reading import check_config, config_yaml, load_config
from models.weights.files import find_autoencoder
from runtime.errors import UserError, run_script

EXAMPLES = """examples:
  python train.py --input_path train_resized                       the winning recipe, on a GPU
  python train.py --input_path train_resized --resume              goes on after a kill
  python train.py --input_path train_resized --config small --set train.unet.steps=2000 --set train.run=runs/try
  python train.py --input_path train_resized --stage autoencoder   the autoencoder alone
  python train.py --input_path train_resized --config gaugan       a row of Table 1: gaugan, clade, sean, scgan
  python train.py --input_path train_resized --config gaugan --stage statistics    its statistics computed again
  python train.py --input_path train_resized --config iidm_turbo --stage distil --set train.distil.teacher=FILE
                    a student of a trained U-Net that paints an image in a dozen network calls
  python train.py --input_path train_resized --stage tiny          a small autoencoder in the given one's image, for the way
                    between rounds: test.py --set sampling.between=FILE
  python train.py --input_path train_resized --stage segmenter     a segmenter for evaluate.py; begins with
                    weights trained on ImageNet or ADE20K where --set train.segmenter.init_from=FILE names some

--input_path holds imgs/<stem>.jpg and labels/<stem>.png (grey, ids 0..28). Logs, loss curve, pictures and
checkpoints go to the folder named by train.run in the config."""


def parse(argv):
    parser = argparse.ArgumentParser(prog="train.py", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input_path", required=True, metavar="TRAIN", help="folder with imgs/ and labels/")
    parser.add_argument("--config", default="iidm", help="a yaml, or the name of one in configs/ (default: iidm)")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="overrides an option; repeatable")
    parser.add_argument("--stage", default="all",
                        choices=["autoencoder", "unet", "distil", "tiny", "segmenter", "gan", "statistics", "all"],
                        help="what to train (default: all: the U-Net, before it the autoencoder if its file is missing)")
    parser.add_argument("--resume", action="store_true", help="go on from the run's last saved state")
    parser.add_argument("--track", choices=["none", "tensorboard", "swanlab", "wandb"],
                        help="shows the run there too: --set train.track=... in short")
    parser.add_argument("--data_changed", action="store_true", help="with --resume: although the training pairs are other ones")
    return parser.parse_args(argv)


def main(argv):
    args = parse(argv)
    track = [f"train.track={args.track}"] if args.track else []
    config = load_config(args.config, args.set + track, whole=False)
    if config.train.network == "gan" or args.stage in ("gan", "statistics"):
        return train_row(config, args)
    path = find_autoencoder(config.autoencoder.path)
    opens_autoencoder = path is not None and args.stage in ("unet", "distil", "tiny", "all")
    if not opens_autoencoder:
        check_config(config, args.config)                    # else when the autoencoder's file has told its architecture
    pairs = checked_pairs(args.input_path, config.data)

    from models.weights.loading import load_autoencoder
    from runtime.backend import DEVICE
    from runtime.distributed import one_process
    from training.autoencoder import train_autoencoder
    from training.claim import claim
    from training.distil import train_student
    from training.ranks import ranks_here
    from training.segmenter import train_segmenter
    from training.tiny import train_tiny
    from training.unet import train_unet
    from training.upsampler import train_upsampler
    if not opens_autoencoder or args.stage not in ("all", "unet", "distil"):
        one_process(why="the U-Net alone is trained by several, on the autoencoder that --stage autoencoder makes before")
    ranks = ranks_here()                                     # several processes: an error in one ends all from here on
    if args.stage in ("unet", "distil", "tiny") and path is None:
        raise UserError(f"{config.autoencoder.path}: no such file, expected the autoencoder's weights; --stage autoencoder "
                        "makes them")
    ahead = [args.stage] if args.stage != "all" else ["unet"] if opens_autoencoder else ["autoencoder", "unet"]
    if ranks.rank == 0:
        claim(config, ahead, pairs, args.data_changed)
    notes = [f"{len(pairs)} pairs in {args.input_path}, training on the {DEVICE}"]
    if opens_autoencoder:
        config.autoencoder.path = str(path)
        autoencoder, config.autoencoder, of_file = load_autoencoder(config.autoencoder)  # its architecture is the file's
        check_config(config, args.config)
        notes = of_file + notes
    print("\n".join([config_yaml(config), *notes]), flush=True)
    if args.stage == "segmenter":
        return train_segmenter(config, pairs, args.resume)
    if args.stage == "tiny":
        return train_tiny(config, pairs, autoencoder, args.resume)
    if not opens_autoencoder:
        make = train_upsampler if config.autoencoder.upsampler else train_autoencoder
        autoencoder = make(config, pairs, args.resume)
    if args.stage == "distil":
        train_student(config, pairs, autoencoder, args.resume)
    elif args.stage != "autoencoder":
        train_unet(config, pairs, autoencoder, args.resume)


def train_row(config, args):
    """A GAN of Table 1, or its statistics computed again for test."""
    pairs = checked_pairs(args.input_path, config.data)
    from baselines.statistics import recompute
    from baselines.trainer import train_gan
    from models.weights.ranking import ranked
    from runtime.backend import DEVICE
    from runtime.distributed import one_process
    from training.claim import claim
    one_process()
    if args.stage in ("gan", "all"):
        claim(config, ["gan"], pairs, args.data_changed)
    print(f"{config_yaml(config)}\n{len(pairs)} pairs in {args.input_path}, training on the {DEVICE}", flush=True)
    if args.stage == "statistics":
        found = config.train.gan.init_from or ranked(config.train.run, "gan")
        if not found:
            raise UserError(f"{config.train.run}: found no checkpoint of a gan, expected one; --stage gan makes it")
        checkpoint = found if isinstance(found, str) else found[0][0]
        print(f"{recompute(config, pairs, checkpoint)}: statistics of {len(pairs)} pairs")
    elif args.stage in ("gan", "all"):
        train_gan(config, pairs, args.resume)
    else:
        raise UserError(f"--stage {args.stage} with {args.config}, expected gan or statistics: its train.network is gan")


def checked_pairs(folder, config_data):
    """The training pairs of a folder. UserError that names every file that is missing or wrong."""
    from data.landscape import check_train, find_train
    pairs = find_train(folder, config_data.exclude)
    check_train(pairs, config_data)
    return pairs


if __name__ == "__main__":
    run_script(main)
