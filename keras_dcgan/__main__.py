"""`python -m keras_dcgan VERB ...`, or `keras-dcgan VERB ...`: the verb; without one the list of them."""

import difflib
import runpy
import sys

import keras_dcgan

LIST = """keras_dcgan: a folder of images in, a generator that runs on a phone out.

  python -m keras_dcgan.fit --data ./imgs                                train; run it again to resume
  python -m keras_dcgan.sample --run runs/imgs --seeds 0-63 --out a.png  draw: a grid, single files, a walk
  python -m keras_dcgan.explore --run runs/imgs --out b.png              see what images can be steered along
  python -m keras_dcgan.edit --run runs/imgs --task project --image a.png --out b.png   restore: fill holes, enlarge, denoise
  python -m keras_dcgan.evaluate --run runs/imgs                         measure: FID, KID, SWD, precision, recall, copies
  python -m keras_dcgan.features --run runs/imgs --out features.keras    reuse: the discriminator as a feature extractor
  python -m keras_dcgan.export --run runs/imgs                           SavedModel and .tflite files
  python runs/imgs/export/edge_sample.py --model runs/imgs/export --seeds 0-15 --out c.png   draw with no TensorFlow
  python -m keras_dcgan.demo ./imgs                                      the built-in images, as files
  python -m keras_dcgan.pack --data ./imgs --out ./shards --size 64      shards of images, for clusters and buckets

Each of them explains itself with --help. `python -m keras_dcgan fit ...` and `keras-dcgan fit ...` are the same."""
VERBS = ("fit", "sample", "explore", "edit", "evaluate", "features", "demo", "data", "pack", "export")
ELSEWHERE = {
    "train": "fit",
    "generate": "sample",
    "draw": "sample",
    "test": "evaluate",
    "measure": "evaluate",
    "convert": "export",
}


def main():
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("--help", "-h", "help"):
        print(LIST)
    elif verb in ("--version", "-V"):
        print(f"keras_dcgan {keras_dcgan.__version__}")
    elif verb in VERBS:
        sys.argv[1:] = arguments
        runpy.run_module(f"keras_dcgan.{verb}", run_name="__main__", alter_sys=True)
    else:
        word = verb.lower()
        nearest = ELSEWHERE.get(word) or next(iter(difflib.get_close_matches(word, VERBS, 1)), None)
        hint = f": did you mean {nearest}?" if nearest and not verb.startswith("-") else ""
        print(
            f"keras_dcgan: expected one of {', '.join(VERBS)} first, received {verb!r}{hint}", file=sys.stderr
        )
        raise SystemExit(2)


if __name__ == "__main__":
    main()
