"""predict.py: what it prints, its JSON, its spellings of several pictures, its figure, and its refusals."""

import json
import re
import shutil
from html import unescape

import matplotlib.image
import numpy as np
import pytest
import torch
from PIL import Image

import arch_dual_head.trainer
import predict
from bilateral import load, outcome, specialisation
from common.checkpoints.files import RECORD
from common.system import letters
from common.system.errors import UserError
from common.trained.figure import MOST, draw_cams
from common.trained.overlay import overlay


@pytest.fixture(scope="module")
def folder(navon, tmp_path_factory):
    """Three pictures in a folder: a test image, a large photograph's size, and grey with transparency."""
    place = tmp_path_factory.mktemp("pictures")
    source = Image.open(next((navon / "test" / "fine" / "3").iterdir()))
    source.save(place / "a.png")
    source.resize((90, 60)).save(place / "b, c (1)=2.JPG")
    source.convert("LA").save(place / "d.webp")
    (place / "notes.txt").write_text("not a picture")
    return place


@pytest.fixture
def ask(in_process, checkpoints):
    """Run predict.py on a kind of network; gives what it printed."""

    def run(kind: str, *arguments: str) -> str:
        status, out, err = in_process(predict.main, f"checkpoint={checkpoints[kind]}", *arguments)
        assert (status, err) == (0, "")
        return out

    return run


def images(out: str) -> list[str]:
    return [one["image"].rsplit("/")[-1] for one in json.loads(out)["images"]]


def best(values: torch.Tensor, trained, level: str) -> list[tuple]:
    order = values.argsort(descending=True)[:5].tolist()
    return [(trained.label_ids[level][i], trained.class_names[level][i]) for i in order]


@pytest.mark.parametrize("kind", ["fine", "coarse", "bilateral", "unilateral", "ensemble"])
def test_json_holds_what_the_network_says(kind, ask, checkpoints, folder):
    said = json.loads(ask(kind, f"image={folder}", "--json"))
    trained = load(checkpoints[kind])
    paths = [folder / name for name in ("a.png", "b, c (1)=2.JPG", "d.webp")]
    assert said["checkpoint"] == str(checkpoints[kind])
    assert [one["image"] for one in said["images"]] == [str(path) for path in paths]
    views = {None: trained.predict(paths)}
    if kind == "bilateral":
        views["left"] = trained.predict(paths, alone="left")
        views["right"] = trained.predict(paths, alone="right")
    for i, one in enumerate(said["images"]):
        assert set(one) == {"image", *trained.levels, *filter(None, views)}
        for view, probabilities in views.items():
            for level in trained.levels:
                found = (one[view] if view else one)[level]
                values = probabilities[level][i]
                assert [(c["label"], c["class"]) for c in found] == best(values, trained, level)
                expected = values.sort(descending=True).values[:5]
                assert np.allclose([c["probability"] for c in found], expected, atol=1e-5)


def test_the_table_shows_the_same(ask, folder):
    (one,) = json.loads(ask("bilateral", f"image={folder / 'a.png'}", "json=true"))["images"]
    out = ask("bilateral", f"image={folder / 'a.png'}")
    assert str(folder / "a.png") in out
    assert "other hemisphere are set to 0" in out
    rows = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows if row[0].strip()] == ["fine", "coarse"]
    assert len(rows) == 10
    for row, place in zip(rows, [*range(5)] * 2, strict=True):
        level = "fine" if rows.index(row) < 5 else "coarse"
        for cell, view in zip(row[1:], (one, one["left"], one["right"]), strict=True):
            known = view[level][place]
            assert cell.split("%")[1].strip() == known["class"]
            assert abs(float(cell.split("%")[0]) / 100 - known["probability"]) < 6e-4
    alone = ask("fine", f"image={folder / 'a.png'}")
    assert "coarse" not in alone
    assert "hemisphere" not in alone


def test_class_names_are_text_and_nothing_else(ask, checkpoints, folder, tmp_path, in_process):
    content = torch.load(checkpoints["coarse"], weights_only=True)
    names = content[RECORD]["class_names"]["coarse"]
    content[RECORD]["class_names"]["coarse"] = [f"[red]$x_{name}$[/nonsense]" for name in names]
    torch.save(content, tmp_path / "named.ckpt")
    arguments = [f"checkpoint={tmp_path / 'named.ckpt'}", f"image={folder / 'a.png'}"]
    status, out, err = in_process(predict.main, *arguments, f"cam={tmp_path / 'cam.png'}")
    assert (status, err) == (0, "")
    assert out.count("[red]$x_") == 5


@pytest.mark.parametrize(
    ("spelling", "found"),
    [
        ("image={0}/a.png,{0}/d.webp", ["a.png", "d.webp"]),
        ("image=[{0}/d.webp,{0}/a.png]", ["d.webp", "a.png"]),
        ("image={0}/b, c (1)=2.JPG", ["b, c (1)=2.JPG"]),
        ("image={0}/d.webp,{0}", ["d.webp", "a.png", "b, c (1)=2.JPG", "d.webp"]),
        ("image='{0}/a.png'", ["a.png"]),
        ("+image={0}/a.png", ["a.png"]),
    ],
)
def test_spellings_of_several_pictures(spelling, found, ask, folder):
    assert images(ask("fine", spelling.format(folder), "--json")) == found


def test_json_to_a_dash_goes_to_standard_output(ask, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = ask("fine", f"image={folder}", "json=-")
    assert said == ask("fine", f"image={folder}", "--json")
    assert [*tmp_path.iterdir()] == []


def test_relative_paths_are_relative_to_the_working_directory(ask, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    assert images(ask("fine", "image=a.png,d.webp", "json=true")) == ["a.png", "d.webp"]
    monkeypatch.chdir(tmp_path)
    out = ask("fine", f"image={folder}", "json=o.json", "cam=cam.pdf")
    assert f"JSON: {tmp_path / 'o.json'}" in out
    assert f"HiResCAM: {tmp_path / 'cam.pdf'}" in out
    assert len(images((tmp_path / "o.json").read_text())) == 3
    assert (tmp_path / "cam.pdf").read_bytes().startswith(b"%PDF")


def test_the_figure_beside_json_on_standard_output(in_process, checkpoints, folder, tmp_path):
    arguments = [f"checkpoint={checkpoints['bilateral']}", f"image={folder}", "--json"]
    drawn = {}
    for method, name in (("hires_cam", "HiResCAM"), ("grad_cam", "Grad-CAM")):
        file = tmp_path / f"{method}.png"
        status, out, err = in_process(
            predict.main, *arguments, f"cam={file}", f"cam_method={method}"
        )
        assert status == 0
        assert len(images(out)) == 3
        assert err == f"{name}: {file}\n"
        drawn[method] = matplotlib.image.imread(file)
    assert drawn["hires_cam"].shape == drawn["grad_cam"].shape
    assert (drawn["hires_cam"] != drawn["grad_cam"]).any()


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("bilateral", 5),
        *(pytest.param(*c, marks=pytest.mark.slow) for c in (("fine", 2), ("ensemble", 5))),
    ],
)
def test_the_figure_has_a_panel_for_each_head_and_hemisphere(
    kind, columns, checkpoints, folder, tmp_path
):
    file = tmp_path / "cam.png"
    pictures = [folder / "a.png", folder / "d.webp"]
    assert draw_cams(load(checkpoints[kind]), pictures, file) == 2
    pixels = matplotlib.image.imread(file)
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(2.2 * columns / 5.5, rel=0.05)
    assert draw_cams(load(checkpoints["fine"]), pictures[:1] * (MOST + 3), file) == MOST


@pytest.mark.parametrize("arch", ["product", "mean_of_specialists"])
def test_a_specialist_is_drawn_for_its_own_head_alone(
    arch, succeed, tiny, checkpoints, folder, tmp_path
):
    paths = [f"hparams.model_path_fine=[{checkpoints['fine']},{checkpoints['coarse']}]"]
    options = [f"save_dir={tmp_path}", f"exp_name={arch}", "seeds=[0]", "evaluate=false"]
    succeed(arch_dual_head.trainer.main, *tiny, *paths, *options, f"hparams.macro_arch={arch}")
    trained = load(next(tmp_path.rglob("best.ckpt")))
    file = tmp_path / "cam.png"
    assert draw_cams(trained, [folder / "a.png"], file) == 1
    pixels = matplotlib.image.imread(file)
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(2.2 * 3 / 2.75, rel=0.05)
    for side, level in (("member0.left", "coarse"), ("member1.right", "fine")):
        assert level not in trained.levels_of(side)
        with pytest.raises(UserError, match=f"no {level} head over {side}; there is "):
            trained.hires_cam(folder / "a.png", level=level, hemisphere=side)


def test_the_figure_says_the_joint_answer_over_the_picture_and_each_ones_own_over_its_map(
    checkpoints, folder, tmp_path
):
    trained, file = load(checkpoints["bilateral"]), tmp_path / "cam.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw_cams(trained, [folder / "a.png"], file)
    text = unescape(" ".join(re.findall(r">([^<>\n]+)<", file.read_text())))

    def said(level: str, **asked: str) -> str:
        value, place = trained.predict([folder / "a.png"], **asked)[level][0].max(0)
        return f"{trained.class_names[level][int(place)]} {100 * value.item():.0f} %"

    for level in ("fine", "coarse"):
        assert f"{level}: {said(level)}" in text
        for side in ("left", "right"):
            assert f"{level} head, {side} alone: {said(level, alone=side)}" in text


def test_a_map_is_laid_over_the_picture_in_grey():
    image = np.full((2, 2, 3), [200, 0, 0], np.uint8)
    shown = overlay(image, np.array([[0, 1], [0.5, 0]], np.float32))
    assert shown.dtype == np.uint8
    dark = round(0.75 * 0.299 * 200)
    assert np.abs(shown[0, 0].astype(int) - dark).max() <= 1  # no map: grey alone
    assert shown[0, 1].sum() > shown[1, 0].sum() > shown[0, 0].sum()
    assert len({*shown[0, 1].tolist()}) > 1  # colour is the map's


def test_letters_that_no_font_has_are_named_in_one_line(
    checkpoints, folder, tmp_path, in_process, monkeypatch
):
    monkeypatch.setattr(letters, "known", lambda: frozenset({"DejaVu Sans"}))
    content = torch.load(checkpoints["coarse"], weights_only=True)
    names = content[RECORD]["class_names"]["coarse"]
    content[RECORD]["class_names"]["coarse"] = ["\u8774\u8776" for _ in names]
    torch.save(content, tmp_path / "named.ckpt")
    arguments = [f"checkpoint={tmp_path / 'named.ckpt'}", f"image={folder / 'a.png'}"]
    file = tmp_path / "cam.png"
    status, out, err = in_process(predict.main, *arguments, f"cam={file}")
    assert status == 0
    assert f"HiResCAM: {file}" in out
    assert err.startswith(
        f"warning: no font here can draw \u8774 \u8776, which are boxes in {file}: "
    )
    assert err.count("\n") == 1


def test_names_are_matplotlibs_text_and_not_its_mathematics(checkpoints, folder, tmp_path):
    odd = tmp_path / "a$b$c_{^.png"
    shutil.copy(folder / "a.png", odd)
    assert draw_cams(load(checkpoints["fine"]), [odd], tmp_path / "cam.svg") == 1


def test_a_tilde_before_what_is_no_user_is_the_name_of_a_file(
    ask, checkpoints, folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(folder / "a.png", "~t.png")
    shutil.copy(checkpoints["fine"], "~network.ckpt")
    ask("fine", "image=~t.png", "json=~o.json")
    assert images((tmp_path / "~o.json").read_text()) == ["~t.png"]
    assert load("~network.ckpt").levels == ("fine",)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/~network.ckpt").levels == ("fine",)


@pytest.mark.parametrize("read", [outcome, specialisation])
def test_what_is_no_path_is_refused_in_a_sentence(read):
    for wrong in (5, None, b"runs/demo", ["runs/demo"]):
        with pytest.raises(
            UserError, match=rf"^\w+ is {re.escape(repr(wrong))}; allowed: the folder"
        ):
            read(wrong)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "image has no value"),
        (["image="], "image has no value"),
        (["image={0}/nothing.png"], "There is no picture at {0}/nothing.png"),
        (["image={0}/notes.txt"], "{0}/notes.txt cannot be read as an image"),
        (["image={0}/nothing", "json=true"], "There is no picture at {0}/nothing"),
        (["image={0}/empty"], "{0}/empty holds no pictures"),
        (["image={0}", "json=3"], "json is 3; allowed: true, false or the path of a file"),
        (["image={0}", "cam=cam.bmq"], "cam.bmq (cam) has no known format; allowed: "),
        (["image={0}", "pictures=1"], "pictures"),
    ],
)
def test_refusals_are_one_sentence(arguments, named, in_process, checkpoints, folder):
    (folder / "empty").mkdir(exist_ok=True)
    arguments = [argument.format(folder) for argument in arguments]
    status, out, err = in_process(predict.main, f"checkpoint={checkpoints['fine']}", *arguments)
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert named.format(folder) in err


@pytest.fixture
def collection(folder, tmp_path):
    """What a person's folder holds: pictures of several kinds, one below it, a damaged and an empty one, and notes."""
    place = tmp_path / "my photos"
    (place / "sub").mkdir(parents=True)
    (place / "@eaDir").mkdir()
    for name in ("a.jpg", "d.jpg", "sub/f.jpg", "@eaDir/a.jpg"):
        Image.open(folder / "a.png").save(place / name, format="JPEG")
    Image.open(folder / "a.png").save(place / "c.jfif", format="JPEG")
    (place / "b.heic").write_bytes(b"of a telephone")
    (place / "cut.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (place / "empty.png").touch()
    (place / "notes.txt").write_text("not a picture")
    return place


READ = ["a.jpg", "c.jfif", "d.jpg", "f.jpg"]


def test_what_can_be_read_is_answered_and_the_rest_named(in_process, checkpoints, collection):
    arguments = (f"checkpoint={checkpoints['fine']}", f"image={collection}")
    status, out, err = in_process(predict.main, *arguments, "--json")
    assert (status, images(out)) == (1, READ)
    unread = {one["image"]: one["reason"] for one in json.loads(out)["unread"]}
    assert [*unread] == [str(collection / name) for name in ("b.heic", "cut.png", "empty.png")]
    assert err.splitlines() == [f"error: {reason}" for reason in unread.values()]
    for words in (".heic", "cannot be read as an image", "it is empty"):
        assert sum(words in reason for reason in unread.values()) >= 1
    status, out, err = in_process(predict.main, *arguments)
    assert status == 1
    assert all(name in out for name in READ)
    assert "cut.png" not in out
    assert "cut.png" in err


def test_pictures_of_which_none_can_be_read_are_all_named(in_process, checkpoints, collection):
    arguments = (f"checkpoint={checkpoints['fine']}", f"image={collection}/[be]*")
    status, out, err = in_process(predict.main, *arguments, "--json")
    assert (status, json.loads(out)["images"]) == (1, [])
    assert [line.split()[0] for line in err.splitlines()] == ["error:"] * 2


def test_the_answers_are_those_of_the_picture_alone(ask, in_process, checkpoints, collection):
    _, out, _ = in_process(
        predict.main, f"checkpoint={checkpoints['fine']}", f"image={collection}", "--json"
    )
    alone = json.loads(ask("fine", f"image={collection}/d.jpg", "--json"))
    assert alone["images"][0] in json.loads(out)["images"]
    assert alone["unread"] == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["image={0}/*.jpg"], ["a.jpg", "d.jpg"]),
        (["image={0}/**/f.*"], ["f.jpg"]),
        (["image={0}/d.jpg, {0}/sub/*.jpg"], ["d.jpg", "f.jpg"]),
        (["image={0}/a.jpg", "{0}/c.jfif", "{0}/sub"], ["a.jpg", "c.jfif", "f.jpg"]),
        (["{0}/d.jpg", "{0}/a.jpg"], ["d.jpg", "a.jpg"]),
    ],
)
def test_names_and_patterns_with_spaces(words, found, ask, collection):
    assert images(ask("fine", *(word.format(collection) for word in words), "--json")) == found


def test_many_names_are_no_name_that_is_too_long(ask, collection):
    names = ",".join([f"{collection}/a.jpg"] * 150)
    assert images(ask("fine", f"image={names}", "--json")) == ["a.jpg"] * 150


def test_a_word_that_is_no_picture_is_named_among_those_that_are(
    in_process, checkpoints, collection
):
    words = (f"image={collection}/a.jpg", f"{collection}/gone.jpg", "--json")
    status, out, err = in_process(predict.main, f"checkpoint={checkpoints['fine']}", *words)
    assert (status, images(out)) == (1, ["a.jpg"])
    assert err == f"error: There is no picture at {collection}/gone.jpg.\n"


def test_a_checkpoint_is_asked_for(in_process, folder):
    status, _, err = in_process(predict.main, f"image={folder}")
    assert status == 1
    assert "checkpoint has no value" in err


@pytest.mark.parametrize("script", ["predict.py", "export.py"])
def test_help_answers_without_torch(command, script):
    program = (
        "import runpy, sys\n"
        f"sys.argv = [{script!r}, '--help']\n"
        "try:\n"
        f"    runpy.run_path({script!r}, run_name='__main__')\n"
        "finally:\n"
        "    heavy = {'torch', 'torchvision', 'captum', 'matplotlib', 'onnx'}\n"
        "    print(sorted(heavy & sys.modules.keys()))\n"
    )
    done = command("-c", program)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python {script} checkpoint=PATH" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_folder_is_asked_about_its_pictures_alone(ask, folder, tmp_path):
    place = tmp_path / "mixed"
    (place / "folder.png").mkdir(parents=True)
    (place / "._a.png").write_bytes(b"notes of a file system")
    shutil.copyfile(folder / "a.png", place / "a.png")
    Image.open(folder / "a.png").save(place / "b.ppm")
    assert images(ask("fine", f"image={place}", "--json")) == ["a.png", "b.ppm"]
    # Nothing between two commas, or after the last, is no picture.
    assert images(ask("fine", f"image={place}/a.png,", "--json")) == ["a.png"]


def test_links_to_folders_are_followed_but_not_in_a_circle(ask, folder, tmp_path):
    place, other = tmp_path / "photos", tmp_path / "other disk"
    for one in (place, other):
        one.mkdir()
        shutil.copyfile(folder / "a.png", one / f"{one.name[0]}.png")
    (place / "linked").symlink_to(other)
    (place / "again").symlink_to(place)
    (other / "back").symlink_to(place)
    (other / "twice").symlink_to(other)
    assert images(ask("fine", f"image={place}", "--json")) == ["o.png", "p.png"]


def test_an_answer_may_be_written_to_a_file_of_any_name(ask, folder, tmp_path):
    file = tmp_path / "a,b=1.json"
    ask("fine", f"image={folder}/a.png", f"json={file}")
    assert images(file.read_text()) == ["a.png"]


def test_names_that_no_font_has_are_drawn(checkpoints, folder, tmp_path):
    name = "a\udcff\n.png"
    shutil.copyfile(folder / "a.png", tmp_path / name)
    assert draw_cams(load(checkpoints["fine"]), [tmp_path / name], tmp_path / "cam.png") == 1


def test_an_unreadable_file_is_named_without_its_place_in_memory(folder, in_process, checkpoints):
    arguments = (f"checkpoint={checkpoints['fine']}", f"image={folder}/notes.txt")
    status, _, err = in_process(predict.main, *arguments)
    assert status == 1
    assert err == f"error: {folder}/notes.txt cannot be read as an image (of an unknown kind).\n"


@pytest.mark.parametrize("key", ["json", "cam"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_asked(
    checkpoints, in_process, navon, tmp_path, key
):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name, reason in (("file/a.png", "Not a directory"), ("folder", "it is a folder")):
        line = [f"checkpoint={checkpoints['bilateral']}", f"image={navon}/test/fine/3"]
        status, out, err = in_process(predict.main, *line, f"{key}={tmp_path / name}")
        assert (status, out) == (1, "")
        assert err.startswith(f"error: {key}={tmp_path / name} cannot be written ({reason}): give")
