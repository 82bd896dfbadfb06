"""Several training steps as one program. On a GPU a step of these networks is hundreds of small kernels, and what
starts them is slower than they are; a program of many steps is started once, and has its batches there
beforehand.

    dataset = grouped(batches, steps=16)
    run = one_program(take_step, results, jit_compile=True)
    run(iter(dataset))                              # 16 steps, or what is left of the data -> results()

All steps go through the same program, also those of a last group that is not full: so a training that was
broken off and resumed somewhere else has the same bits.
"""

from collections.abc import Callable

import tensorflow as tf

AHEAD = 1  # groups that wait on the device while another one trains and the next is being brought


def grouped(dataset: tf.data.Dataset, steps: int, device: str = "") -> tf.data.Dataset:
    """Elements of one shape become {"steps": int32, how many; "batches": `steps` of them in one tensor}, filled up
    with zeros where the data ends sooner. `device`: where they are brought ahead of time, such as "/gpu:0".

    Its cardinality is that of `dataset`: Keras takes it for the number of steps."""

    def filled(part, missing):
        def padded():
            return tf.pad(part, [[0, missing], *[[0, 0]] * (part.shape.rank - 1)])

        return tf.ensure_shape(tf.cond(missing > 0, padded, lambda: part), [steps, *part.shape[1:]])

    def group(*batches):
        count = tf.shape(tf.nest.flatten(batches)[0])[0]
        parts = tf.nest.map_structure(lambda part: filled(part, steps - count), batches)
        return {"steps": count, "batches": parts if len(parts) > 1 else parts[0]}

    group = tf.autograph.experimental.do_not_convert(group)
    groups = dataset.batch(steps).map(group)
    if device:
        groups = groups.apply(tf.data.experimental.prefetch_to_device(device, AHEAD))
    else:
        groups = groups.prefetch(AHEAD)
    groups.cardinality = dataset.cardinality
    return groups


def is_groupable(dataset: tf.data.Dataset) -> bool:
    """Whether its elements are known to be of one shape, as with drop_remainder=True."""
    return all(spec.shape.is_fully_defined() for spec in tf.nest.flatten(dataset.element_spec))


def is_grouped(iterator) -> bool:
    spec = getattr(iterator, "element_spec", None)
    return isinstance(spec, dict) and spec.keys() == {"steps", "batches"}


def one_program(take_step: Callable, results: Callable, jit_compile: bool) -> Callable:
    """-> a function of an iterator over groups: calls `take_step(batch)` for each of the next group's batches, and
    returns `results()`. Raises OutOfRangeError at the end of the data."""

    def steps(group):
        def step(number):
            take_step(tf.nest.map_structure(lambda part: part[number], group["batches"]))
            return (number + 1,)

        tf.while_loop(lambda number: number < group["steps"], step, [tf.constant(0)])
        return results()

    program = tf.function(steps, jit_compile=jit_compile, autograph=False)
    return tf.function(lambda iterator: program(next(iterator)), autograph=False)
