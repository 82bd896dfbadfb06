import dataclasses
import json
import os
import pathlib
import re

import pytest
from conftest import from_flags

from keras_dcgan import cli, config, files
from keras_dcgan.config import PRESETS, TrainConfig, resolve
from keras_dcgan.errors import Refused, Unavailable
from keras_dcgan.runs import directory
from keras_dcgan.runs.directory import check_fits


def choices(settings: TrainConfig, images: int) -> str:
    """As the verb writes it."""
    return cli.with_flags(config.choices(settings, images))


def test_the_paper_preset_is_the_paper():
    settings = from_flags(["--data", "x", "--preset", "paper"])
    assert (settings.size, settings.filters, settings.latent_dim, settings.upsample) == (
        (64, 64),
        64,
        100,
        "transpose",
    )
    assert (settings.batch, settings.loss, settings.g_lr, settings.d_lr) == (64, "bce", 2e-4, 2e-4)
    assert (settings.precision, settings.ema_kimg, settings.flip) == ("float32", 0, False)


def test_a_folder_with_a_dot_keeps_its_whole_name(tmp_path):
    (tmp_path / "photos-1.1").mkdir()
    assert from_flags(["--data", str(tmp_path / "photos-1.1")]).run == "runs/photos-1.1"


def test_what_is_typed_wins_over_the_preset_which_wins_over_the_default():
    assert from_flags(["--data", "demo"]).filters == PRESETS["demo"]["filters"] != TrainConfig("x").filters
    assert from_flags(["--data", "demo", "--filters", "8"]).filters == 8
    assert from_flags(["--data", "demo", "--preset", "paper"]).filters == 64
    assert from_flags(["--data", "demo", "--preset", "paper"]).preset == "paper"
    assert from_flags(["--data", "demo", "--preset", "auto"]).filters == 64


@pytest.mark.parametrize(
    "data, run",
    [
        ("./imgs/", "runs/imgs"),
        ("/a/b/cats.zip", "runs/cats"),
        ("demo", "runs/demo"),
        ("shards/part-*.tfrecord", "runs/shards"),
        ("a/cats-v1.2-{000..009}.tar", "runs/cats-v1.2"),
        ("hub/*.parquet", "runs/hub"),
        ("train.csv", "runs/train"),
        ("cats [24]", "runs/cats _24_"),
    ],
)
def test_run_is_named_after_the_data(data, run):
    assert from_flags(["--data", data]).run == run
    assert from_flags(["--data", data, "--run", "elsewhere"]).run == "elsewhere"


@pytest.mark.parametrize(
    "typed, complaint",
    [
        (["--size", "15"], "--size: expected N or HxW with sides from 16 to 512 pixels, received '15'"),
        (["--size", "64x"], "--size: expected N or HxW with sides from 16 to 512 pixels, received '64x'"),
        (
            ["--size", "64x64x3"],
            "--size: expected N or HxW with sides from 16 to 512 pixels, received '64x64x3'",
        ),
        (["--kimg", "0"], "--kimg: expected a number above 0 to 1e+09 (thousands of images), received '0'"),
        (
            ["--kimg", "nan"],
            "--kimg: expected a number above 0 to 1e+09 (thousands of images), received 'nan'",
        ),
        (
            ["--kimg", "1e18"],
            "--kimg: expected a number above 0 to 1e+09 (thousands of images), received '1e18'",
        ),
        (["--batch", "1"], "--batch: expected a whole number from 2 to 65536, received '1'"),
        (["--batch", "2.5"], "--batch: expected a whole number from 2 to 65536, received '2.5'"),
        (["--g-lr", "inf"], "--g-lr: expected a number above 0 to 10, received 'inf'"),
        (
            ["--loss", "l1"],
            "--loss: expected one of bce, hinge, least_squares, wasserstein, relativistic, received 'l1'",
        ),
        (
            ["--preset", "fast"],
            "--preset: expected one of paper, auto, modern, demo, classic, classic-demo, received 'fast'",
        ),
        (["--siz", "64"], "--siz: did you mean --size?"),
        (["--kimg"], "--kimg: expected one argument"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(typed, complaint, capsys):
    with pytest.raises(SystemExit) as stop:
        from_flags(["--data", "x", *typed])
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"fit: {complaint}\n"


def test_every_flag_is_in_the_help_with_its_default(capsys):
    with pytest.raises(SystemExit):
        from_flags(["--help"])
    help = capsys.readouterr().out
    for row in dataclasses.fields(TrainConfig):
        assert cli.flag(row.name) in help
    unwrapped = " ".join(help.split())
    assert (
        "from 97, 193 and 385 px on; paper: 64; demo: 32 at 64x64]" in unwrapped
        and "[16 up to 250 kimg, else 32; paper: 64; demo: 16]" in unwrapped
    )  # --filters, --batch
    assert "bce|hinge|least_squares" in help


def test_json_round_trip_and_unknown_names():
    settings = from_flags(["--data", "x", "--size", "32x48", "--flip"])
    assert TrainConfig.from_json(settings.to_json()) == settings
    with pytest.raises(ValueError, match="received colour"):
        TrainConfig.from_json({**settings.to_json(), "colour": 1})


def test_ticks_end_at_whole_multiples_and_steps_cover_the_images():
    settings = from_flags(["--data", "x", "--kimg", "1", "--tick-kimg", "0.25", "--batch", "48"])
    assert settings.total_steps == 21  # 1000 / 48 = 20.8
    assert from_flags(["--data", "x", "--kimg", "1e-9"]).total_steps == 1
    assert [step for step in range(1, 22) if settings.ticks(step) > settings.ticks(step - 1)] == [
        6,
        11,
        16,
        21,
    ]


def test_a_run_is_refused_by_what_may_not_change_and_only_that(tmp_path):
    flags = ["--data", "x", "--run", str(tmp_path)]
    begun = from_flags(flags, 500)
    check_fits(begun)  # as no run is there yet
    (tmp_path / "config.json").write_text(json.dumps({"schema": 1, "settings": begun.to_json()}))
    check_fits(
        from_flags([*flags, "--kimg", "7", "--keep", "9", "--threads", "1"])
    )  # with auto's --augment before images are counted
    with pytest.raises(ValueError) as error:
        check_fits(from_flags([*flags, "--size", "32", "--g-lr", "1e-3", "--kimg", "7"]))
    assert str(error.value).partition(" (the run is ")[0] == (
        "size: the run has 64x64, received 32x32; g_lr: the run has 0.0004, received 0.001"
    )
    told = error.value.told(cli.flag)
    assert "--size: the run has 64x64, received 32x32; --g-lr: the run" in told and "another --run to" in told
    with pytest.raises(Refused, match="^run: expected a path without any of "):
        check_fits(dataclasses.replace(begun, run="a[1]"))
    (tmp_path / "config.json").rename(tmp_path / "another.json")
    with pytest.raises(
        Unavailable,
        match="^run: expected a new or empty directory, or a run of this program, received ",
    ):
        check_fits(begun)
    with pytest.raises(Unavailable, match="^run: expected a directory, received the file "):
        check_fits(dataclasses.replace(begun, run=str(tmp_path / "another.json")))


def test_auto_adapts_to_the_number_of_images_and_the_length_and_what_is_typed_wins():
    def settings(images, *more):
        return from_flags(["--data", "x", *more], images)

    found = [settings(images).augment for images in (500, 50_000, 200_000)]  # for 1000 kimg
    assert found == ["translation", "translation", "none"]
    assert [settings(50_000, "--kimg", kimg).augment for kimg in ("750", "751")] == ["none", "translation"]
    assert [settings(500, "--kimg", kimg).augment for kimg in ("7.5", "7.6")] == ["none", "translation"]
    classic = [
        settings(images, "--preset", "classic", "--kimg", "501").augment for images in (500, 50_000, 51_000)
    ]
    assert classic == ["all", "translation", "none"]
    assert "is shown 167 times" in choices(settings(6_000), 6_000) and "is shown 4.8 times" in choices(
        settings(50_000, "--kimg", "240"), 50_000
    )
    assert settings(500, "--augment", "cutout").augment == "cutout"
    assert settings(500, "--preset", "paper").augment == "none"
    typed = settings(500, "--augment", "cutout")
    assert "--augment cutout" in choices(typed, 500) and "is shown 2,000 times" in choices(typed, 500)
    assert "would take --augment translation" in choices(typed, 500)
    assert "would take" not in choices(settings(500), 500)
    assert "500 images are few" in choices(settings(500, "--preset", "classic"), 500)


def test_a_longer_training_keeps_what_auto_chose_at_its_beginning(tmp_path):
    flags = ["--data", "x", "--run", str(tmp_path)]
    begun = from_flags([*flags, "--kimg", "240"], 50_000)
    (tmp_path / "config.json").write_text(json.dumps({"schema": 1, "settings": begun.to_json()}))
    longer = from_flags([*flags, "--kimg", "1000"], 50_000)
    assert (begun.augment, begun.batch) == (longer.augment, longer.batch) == ("none", 16)
    (tmp_path / "config.json").write_text("[]")
    assert from_flags([*flags, "--kimg", "1000"], 50_000).augment == "translation"


def test_modern_is_auto_with_residual_blocks(capsys):
    auto, modern = (
        from_flags(["--data", "x", "--size", "128", "--preset", name], 500) for name in ("auto", "modern")
    )
    assert dataclasses.replace(modern, preset="auto", blocks=0, beta2=0.999) == auto and modern.blocks == 1
    told = choices(modern, 500)
    assert told.startswith("--preset modern: ") and "--blocks 1 " in told and "--max-width 16 " in told
    assert config.unasked(modern, "modern", 500).filters == auto.filters == 32


def test_residual_networks_have_a_shorter_mean_of_squares(tmp_path):
    def of(**typed):
        return resolve({"data": "x", "run": str(tmp_path), **typed}).beta2

    assert of(preset="modern") == of(blocks=1) == of(preset="demo", blocks=2) == 0.99
    assert of() == of(preset="demo") == of(preset="modern", blocks=0) == of(preset="paper", blocks=1) == 0.999
    assert of(preset="modern", beta2=0.9) == 0.9
    begun = resolve({"data": "x", "preset": "modern", "beta2": 0.999}).to_json()  # before there was a choice
    assert resolve({"data": "x"}, begun=begun).beta2 == 0.999
    residual = resolve({"data": "x", "blocks": 1}, 500)
    assert "--beta2 0.99 " in choices(residual, 500) and "--beta2" not in choices(resolve({"data": "x"}), 500)
    assert "--beta2" not in choices(resolve({"data": "x", "preset": "classic", "blocks": 1}, 500), 500)
    usual = config.unasked(residual, "auto", 500)  # of its own accord
    assert (usual.beta2, usual.blocks) == (0.99, 0)


def test_auto_takes_small_batches_for_short_trainings():
    def batch(kimg, **typed):
        return resolve({"data": "x", "kimg": kimg, **typed}).batch

    assert [batch(kimg) for kimg in (5, 250, 250.1, 1000)] == [16, 16, 32, 32]
    assert batch(100, batch=48) == 48 and resolve({"data": "x"}).batch == 32
    assert [batch(100, preset=name) for name in ("paper", "classic", "classic-demo", "demo")] == [
        64,
        32,
        32,
        16,
    ]
    told = choices(resolve({"data": "x", "kimg": 100}), 500)
    assert "--batch 16 " in told and told.endswith("; up to 250 kimg batches of 16 learn more)")
    assert "learn more" not in choices(resolve({"data": "x", "kimg": 100, "batch": 32}), 500)


def test_larger_images_take_narrower_layers_next_to_them_and_what_is_typed_wins(tmp_path):
    def widths(*typed):
        settings = from_flags(["--data", *typed])
        return settings.filters, settings.max_width

    sizes = ("16", "64", "96", "97", "128x96", "128", "256", "400")
    assert [widths("x", "--size", size) for size in sizes] == [
        *(3 * [(64, 8)]),
        *((32, 16), (64, 8), (32, 16), (16, 32), (8, 64)),
    ]
    assert [widths("demo", "--size", size) for size in ("64", "128")] == [(32, 8), (16, 16)]
    assert widths("x", "--size", "128", "--filters", "48") == (48, 10)
    assert widths("x", "--size", "128", "--max-width", "4") == (32, 4)
    assert widths("x", "--size", "128", "--preset", "paper") == (64, 8)
    demo = from_flags(["--data", "demo", "--size", "128"])
    assert (demo.r1, demo.r2, demo.g_lr) == (24, 24, 8e-4)
    wide = from_flags(["--data", "demo", "--filters", "64", "--d-lr", "1e-3"])
    assert (wide.g_lr, wide.d_lr) == (4e-4, 1e-3)  # 8e-4 tears wide networks apart
    assert [from_flags(["--data", "demo", "--size", size]).r1 for size in ("32", "64", "256")] == [6, 6, 24]
    assert from_flags(["--data", "x", "--size", "128"]).g_lr == 4e-4  # the widest layers are as at 64x64
    assert from_flags(["--data", "x", "--size", "128", "--filters", "32"]).max_width == 16
    rates = [from_flags(["--data", "x", "--max-width", width]).g_lr for width in ("2", "4", "8", "64")]
    assert rates == [8e-4, 8e-4, 4e-4, 4e-4]  # there are no layers that a wider one would be
    flags = ["--data", "x", "--run", str(tmp_path)]
    begun = from_flags([*flags, "--size", "128", "--filters", "64"]).to_json()
    del begun["max_width"]  # as a run that began before it has it
    (tmp_path / "config.json").write_text(json.dumps({"schema": 1, "settings": begun}))
    assert from_flags(flags).max_width == 8


def test_auto_takes_penalties_by_the_pixels_and_what_is_typed_wins():
    settings = [
        from_flags(["--data", "x", *more])
        for more in ([], ["--size", "32"], ["--size", "128x64"], ["--r2", "0"])
    ]
    assert [(each.r1, each.r2) for each in settings] == [(2.4, 2.4), (0.6, 0.6), (4.8, 4.8), (2.4, 0)]
    assert "--r1 2.4 --r2 2.4 --g-lr 0.0004 --d-lr 0.0004 --augment" in choices(settings[0], 10_000)
    assert [from_flags(["--data", "x", "--preset", name]).r1 for name in ("paper", "classic", "demo")] == [
        0,
        0,
        6,
    ]


def test_portraits_are_those_that_the_run_began_with(tmp_path):
    flags = ["--data", "demo", "--run", str(tmp_path)]
    assert from_flags(flags).data == "demo" and from_flags(flags).preset == "demo"
    assert (
        from_flags(["--data", "demo:500"]).data == "demo:500"
        and from_flags(["--data", "demo:500"]).filters == 32
    )
    old = {name: value for name, value in from_flags(flags).to_json().items() if name != "penalty_every"}
    for settings, data in (
        (from_flags(flags).to_json(), "demo"),
        (old, "demo:4000"),
        ({**old, "data": "demo:4000"}, "demo:4000"),
    ):
        (tmp_path / "config.json").write_text(
            json.dumps({"schema": 1, "settings": settings}), encoding="utf-8"
        )
        assert TrainConfig.from_json(settings).data == from_flags(flags).data == data


@pytest.mark.parametrize(
    "data, preset, rates",
    [("x", "auto", "classic"), ("demo", "demo", "classic-demo"), ("x", "paper", "paper")],
)
def test_a_run_of_the_last_release_goes_on_as_it_began(data, preset, rates, tmp_path):
    """Its config.json knows nothing of what came later, and says auto or demo of what has another name
    now."""
    flags = ["--data", data, "--run", str(tmp_path)]
    old = from_flags([*flags, "--preset", rates]).to_json() | {"preset": preset, "kimg": 1.0}
    later = ("d_stem", "minibatch_std", "penalty_every", "beta1", "beta2")
    content = {"schema": 1, "settings": {name: value for name, value in old.items() if name not in later}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    typed = ["--preset", preset] if preset == "paper" else []
    resumed = from_flags([*flags, *typed])
    check_fits(resumed)
    assert resumed.preset == rates and from_flags([*flags, "--preset", preset]) == resumed
    assert (resumed.loss, resumed.d_norm, resumed.r1, resumed.beta1, resumed.minibatch_std) == (
        "bce",
        "batch",
        0,
        0.5,
        0,
    )
    (tmp_path / "config.json").write_text(
        json.dumps({"schema": 1, "settings": resumed.to_json()})
    )  # as the resumed run has it
    assert from_flags([*flags, *typed]) == resumed


def test_penalties_do_not_fall_in_a_run_that_began_without(tmp_path):
    flags = ["--data", "x", "--run", str(tmp_path)]
    began = from_flags(flags).to_json()
    assert began.pop("penalty_end") == 0.1 and from_flags(["--data", "demo"]).penalty_end == 1
    (tmp_path / "config.json").write_text(json.dumps({"schema": 1, "settings": began}))
    assert from_flags(flags).penalty_end == from_flags([*flags, "--preset", "auto"]).penalty_end == 1
    check_fits(from_flags(flags))


def test_the_data_may_be_what_no_folder_can_be(tmp_path, monkeypatch):
    """It is refused later, and in one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert [directory.default_path(data) for data in ("loop", 300 * "a")] == [
        "runs/loop",
        f"runs/{300 * 'a'}",
    ]
    monkeypatch.setattr(
        pathlib.Path, "is_dir", lambda self: 1 / 0
    )  # as where a folder above may not be entered
    assert directory.default_path("imgs.zip") == "runs/imgs"
    assert (
        directory.default_path(os.fsdecode(b"M\xfcnchen")) == "runs/M_nchen"
    )  # not UTF-8, which TensorFlow takes
    with pytest.raises(ValueError, match="^run: expected a path in UTF-8"):
        files.check_path(pathlib.Path(os.fsdecode(b"M\xfcnchen")), "run")


def test_a_path_that_the_locale_spells_otherwise_than_tensorflow_is_refused(monkeypatch):
    files.check_path(pathlib.Path("Bücher"), "run")
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("latin-1"))
    files.check_path(pathlib.Path("books"), "run")
    with pytest.raises(
        ValueError, match="^run: expected a path in UTF-8, or a locale of UTF-8 .*, received Bücher"
    ):
        files.check_path(pathlib.Path("Bücher"), "run")


@pytest.mark.parametrize(
    "given, complaint",
    [
        (
            {"augment": "typo"},
            "augment: expected one of none, colour, translation, cutout, all, received 'typo'",
        ),
        ({"batch": 2.5}, "batch: expected a whole number from 2 to 65536, received '2.5'"),
        ({"size": (64, 64, 3)}, "size: expected N or HxW with sides from 16 to 512 pixels"),
        ({"conditional": 1}, "conditional: expected a bool, received 1"),
        ({"run": pathlib.Path("x")}, "run: expected a str, received "),
    ],
)
def test_settings_made_in_python_are_checked_as_if_they_were_typed(given, complaint):
    with pytest.raises(Refused, match="^" + re.escape(complaint)):
        TrainConfig(data="x", **given)


def test_settings_made_in_python_are_the_papers_and_one_side_is_a_square():
    settings = TrainConfig(data="x", size=64)
    assert settings.size == (64, 64) and settings.preset == "paper"
    assert TrainConfig(data="x").preset == "paper"
    typed = from_flags(["--data", "x", "--preset", "paper"])
    assert dataclasses.replace(settings, run=typed.run) == typed


def test_what_is_typed_wins_over_what_the_run_began_with_over_autos_choice_over_the_preset():
    began = {"preset": "auto", "augment": "colour", "r1": 7.0, "penalty_every": 1}
    typed = {"data": "x", "augment": "cutout", "r1": 0.5}
    found = [
        resolve({"data": "x"}),
        resolve({"data": "x"}, images=500),
        resolve({"data": "x"}, images=500, begun=began),
        resolve(typed, images=500, begun=began),
    ]
    assert [settings.augment for settings in found] == ["none", "translation", "colour", "cutout"]
    paper = resolve({"data": "x", "preset": "paper"}, images=500, begun=began)
    assert [settings.r1 for settings in (paper, *found)] == [0, 2.4, 2.4, 7.0, 0.5]
    assert {settings.g_lr for settings in found} == {4e-4} != {TrainConfig.g_lr}
    assert resolve({**typed, "g_lr": 0.01}, images=500, begun={**began, "g_lr": 0.02}).g_lr == 0.01
    assert resolve(typed, begun={**began, "batch": 8}).batch == 8


def test_auto_takes_lower_rates_for_wider_layers():
    rates = {
        filters: (config.g_lr, config.d_lr)
        for filters in (16, 32, 48, 64, 128)
        for config in [resolve({"data": "x", "filters": filters})]
    }
    assert rates == {
        16: (8e-4, 8e-4), 32: (8e-4, 8e-4), 48: (5.3e-4, 5.3e-4), 64: (4e-4, 4e-4), 128: (2e-4, 2e-4)
    }  # fmt: skip
    classic = resolve({"data": "x", "filters": 32, "preset": "classic"})
    assert classic.g_lr == classic.d_lr == 4e-4


def test_what_stands_twice_agrees():
    """In the settings, which a --help must read without NumPy and TensorFlow, and where it is done."""
    from keras_dcgan.data import decode
    from keras_dcgan.model import augment, losses, networks

    rows = {row.name: row for row in dataclasses.fields(TrainConfig)}
    there = {
        "loss": losses.LOSSES,
        "augment": augment.POLICIES,
        "upsample": networks.UPSAMPLINGS,
        "d_norm": networks.NORMS,
    }
    offered = {name: rows[name].metadata["read"].__name__.split("|") for name in there}
    assert offered == {name: list(choices) for name, choices in there.items()}
    assert TrainConfig.max_pixels == decode.MAX_PIXELS


def test_what_to_expect_of_very_few_images_or_steps_is_said():
    usual, short = TrainConfig(data="x"), TrainConfig(data="x", kimg=8.0, batch=32)
    assert config.expectations(usual, 100) == []
    (note,) = config.expectations(short, 600)
    assert note.startswith("note: 8 kimg are only 250 steps: expect little more than blurs")
    for images, note in (
        (1, "note: 1 image: expect copies of it and little else"),
        (99, "note: 99 different images are"),
    ):
        (found,) = config.expectations(usual, images)
        assert found.startswith(note)
    assert len(config.expectations(short, 1)) == 2
