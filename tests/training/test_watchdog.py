import numpy as np
import pytest
import tensorflow as tf
from conftest import discs, small_gan

from keras_dcgan.training.watchdog import Quality, alarms, began, best_step, not_finite, sample_count


def rows(**columns):
    length = max(map(len, columns.values()))
    healthy = {
        "swd": range(100, 100 - length, -1),
        "spread": [0.9] * length,
        "real_acc": [0.8] * length,
        "fake_acc": [0.9] * length,
        "d_loss": [0.5] * length,
        "g_loss": [2.0] * length,
    }
    table = healthy | columns
    return [
        {"step": step, **{name: column[step] for name, column in table.items()}} for step in range(length)
    ]


@pytest.mark.parametrize(
    "history, expected",
    [
        (rows(swd=[90, 80, 70, 60]), set()),
        (rows(swd=[50, 60, 70, 60], spread=[0.9, 0.2, 0.1, 0.01]), {"collapse"}),
        (rows(swd=[50, 60, 70, 60], spread=[0.9, 0.9, 0.1, 0.01]), set()),  # two bad ticks are not three
        (
            rows(swd=[90, 80, 70, 60], spread=[0.1, 0.1, 0.1, 0.1]),
            set(),
        ),  # as at the start of healthy runs: it gets better
        (rows(swd=[50, 60, 70, 60], sharpness=[1, 2.1, 2.2, 2.3]), {"grain"}),
        (rows(swd=[50, 60, 70, 60], sharpness=[1, 2.1, 1.9, 2.3]), set()),
        (rows(swd=[30, 61, 62, 99]), {"quality lost"}),
        (rows(swd=[30, 61, 59, 99]), set()),
        (rows(swd=[50, 60, 60, 60], real_acc=[1.0] * 4, fake_acc=[1.0] * 4), {"discriminator won"}),
        (rows(swd=[50, 60, 60, 60], real_acc=[0.999] * 4, fake_acc=[1.0] * 4), set()),
        (
            rows(swd=[10, 60, 60, 60], spread=[0.9, 0, 0, 0], real_acc=[1.0] * 4, fake_acc=[1.0] * 4),
            {"collapse", "quality lost", "discriminator won"},
        ),
        (rows(swd=[50, 60], spread=[0, 0]), set()),
        (rows(swd=[50, 60, 60, 60], g_loss=[9, 101, -101, 999]), {"losses exploded"}),
        (rows(swd=[50, 60, 60, 60], d_loss=[9, 101, 99, 999]), set()),
        (rows(swd=[260, 310, 290, 310], g_loss=[72, 2, 1, 1]), set()),
        (  # of a run that was torn apart, ticks of 2 kimg
            rows(
                swd=[120, 259, 310, 286, 306],
                g_loss=[2.69, 142.91, 1.61, 1.5, 1.29],
                sharpness=[1.33, 3.37, 3.0, 3.23, 3.33],
            ),
            {"grain", "quality lost", "losses exploded"},
        ),
        (  # and it got better after that
            rows(swd=[260, 50, 60, 60, 60], g_loss=[72, 2, 2, 1, 1], sharpness=[3, 1, 3, 3, 3]),
            {"grain"},
        ),
        (rows(swd=[30, 61, 62, 99], d_loss=[1, 1, 60, 1]), {"quality lost", "losses exploded"}),
        (rows(swd=[50, 50, 50, 50], spread=[0, 0, 0, 0]), {"collapse"}),  # as bad as ever is no improvement
        (rows(swd=[50, 49.99, 49.98, 49.97], spread=[0, 0, 0, 0]), {"collapse"}),  # nor is a drift
        (rows(swd=[50, 49.9, 50, 50], spread=[0, 0, 0, 0]), set()),
    ],
)
def test_alarms_have_names_and_patience(history, expected):
    assert set(alarms(history)) == expected


def test_the_past_has_what_was_told_at_each_tick():
    dice, told, ringing = np.random.default_rng(0), [], {}
    history = rows(
        swd=dice.choice([10, 30, 90], 300), spread=dice.choice([0.1, 0.2, 0.9], 300, p=[0.4, 0.4, 0.2])
    )
    for place in (0, 70, 150, 151, 298):
        history[place]["d_loss"] = 60.0
    for row in history:
        row |= {"kimg": 8.0 * row["step"]} | ({"rollbacks": 1} if row["step"] > 150 else {})
    for end in range(1, 301):
        now = alarms(history[:end])
        told += [(history[end - 1]["kimg"], f"{name}: {now[name]}") for name in now if name not in ringing]
        ringing = now
    rollback = (1208.0, "rollback 1: a loss or a weight was not a number")
    assert len(told) > 20 and began(history) == sorted([*told, rollback], key=lambda event: event[0])


def test_without_measurements_only_the_accuracies_speak():
    plain = [
        {"step": step, "real_acc": 1.0, "fake_acc": 1.0, "d_loss": 0.0, "g_loss": 9.0} for step in range(4)
    ]
    assert set(alarms(plain)) == {"discriminator won"}
    assert best_step(plain) is None


@pytest.mark.parametrize(
    "swd, best",
    [
        ([30, 20, 25, 40], 2),  # 25 is as far as 20, for all that can be told; 40 is lost
        ([30, 20, 31, 40, 30], 4),  # it came back
        ([30, 20, 31, 40, 10], 4),
        ([20, 30, 20, 10, 16], 3),
    ],
)
def test_the_best_step_is_the_newest_that_is_not_clearly_worse(swd, best):
    assert best_step(rows(swd=swd)) == best
    # It never goes back to an older one: a checkpoint that is not the best now may be gone.
    chosen = [best_step(rows(swd=swd[:end])) for end in range(1, len(swd) + 1)]
    assert chosen == sorted(chosen)


def test_sample_count_is_a_tenth_of_a_tick_within_bounds():
    assert [sample_count(images) for images in (10, 8000, 1e6)] == [64, 768, 2048]


def test_quality_knows_one_image_from_many():
    pictures = discs(64)
    table = tf.constant(pictures / 127.5 - 1, tf.float32)
    generator = lambda z, training: tf.gather(table, tf.cast(z[:, 0], tf.int32))  # noqa: E731
    every, one = (
        Quality(pictures, generator, [z]) for z in (np.arange(64.0).reshape(64, 1), np.zeros((64, 1)))
    )
    sharp = {"sharpness": 1, "sharpness_16": 1}
    assert every() == {"swd": 0.0, "swd_16": 0.0, "spread": pytest.approx(1.0, abs=0.02), **sharp}
    assert one()["spread"] == 0 and one()["swd"] > 50


def test_real_images_that_are_all_alike_are_no_measure_of_spread():
    pictures = np.repeat(discs(1), 8, 0)
    draws = lambda z, training: tf.random.stateless_uniform((z.shape[0], 16, 16, 3), [0, 0], -1)  # noqa: E731
    for real in (pictures, np.concatenate([pictures, pictures[:1] ^ 1])):
        assert Quality(real, draws, [np.zeros((8, 1))])().keys() == {
            "swd",
            "swd_16",
            "sharpness",
            "sharpness_16",
        }


def test_weights_that_are_no_numbers_are_named():
    gan = small_gan()
    assert not_finite(gan) == []
    kernel = gan.discriminator.get_layer("down_1").kernel
    kernel.assign(tf.fill(kernel.shape, np.inf))
    gan.generator.get_layer("to_image").bias.assign([0, np.nan, 0])
    assert not_finite(gan) == ["discriminator/down_1/kernel", "generator/to_image/bias"]
