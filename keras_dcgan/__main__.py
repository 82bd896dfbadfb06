"""`python -m keras_dcgan` lists the verbs."""

VERBS = """keras_dcgan: a folder of images in, a generator that runs on a phone out.

  python -m keras_dcgan.fit --data ./imgs                                train; run it again to resume
  python -m keras_dcgan.sample --run runs/imgs --seeds 0-63 --out a.png  draw: a grid, single files, a walk
  python -m keras_dcgan.explore --run runs/imgs --out b.png              see what pictures can be steered along
  python -m keras_dcgan.edit --run runs/imgs --task project --image a.png --out b.png   restore: fill holes, enlarge, denoise
  python -m keras_dcgan.evaluate --run runs/imgs                         measure: FID, KID, SWD, precision, recall, copies
  python -m keras_dcgan.features --run runs/imgs --out features.keras    reuse: the discriminator as a feature extractor
  python -m export --run runs/imgs                                       SavedModel and .tflite files
  python export/edge_sample.py --model runs/imgs/export --seeds 0-15 --out c.png    draw with no TensorFlow
  python -m keras_dcgan.demo ./imgs                                      the built-in pictures, as files

Each of them explains itself with --help."""

if __name__ == "__main__":
    print(VERBS)
