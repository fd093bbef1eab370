"""tfpipe train: the whole step, a kill at any moment, and every way it refuses to go on."""

import csv
import errno
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfpipe
from device_runner.encode import read_vocabulary
from tfpipe import quiet, variant, verb, versions
from tfpipe.cli.progress import ProgressDisplay
from tfpipe.data import open_dataset
from tfpipe.fit_progress import Progress
from tfpipe.run_folder import RunFolder
from tfpipe.train import DataOptions, plan_file, run_record, train

LINE = {
    "epoch": 1,
    "loss": 0.5,
    "accuracy": 0.75,
    "val_loss": 0.25,
    "val_accuracy": 1.0,
    "learning_rate": 0.1,
    "seconds": 1.25,
}


def weights(run):
    with np.load(Path(run) / "variants" / "base" / "weights.npz") as arrays:
        return dict(arrays)


def same(one, other):
    return sorted(one) == sorted(other) and all(np.array_equal(one[k], other[k]) for k in one)


@pytest.fixture
def colours(trained_runs):
    """The table that `trained_runs` were trained on."""
    return trained_runs["lstm"].parent / "colours.csv"


@pytest.fixture(scope="module")
def through(trained_runs, tmp_path_factory, small_recipe):
    """A finished run of the averaging model on the same table."""
    path = tmp_path_factory.mktemp("through") / "run"
    train(trained_runs["lstm"].parent / "colours.csv", path, recipe=small_recipe())
    return path


@pytest.fixture
def begun(tmp_path, colours, small_recipe):
    """A run of the averaging model that ended after its last epoch, before run.json."""
    path = tmp_path / "begun"

    def interrupt(item):
        if item == "measuring the baselines on the same split":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(colours, path, recipe=small_recipe(), progress=interrupt)
    return path


# --- A finished run ---


def test_run_holds_what_was_trained(trained_runs, colours):
    run = trained_runs["lstm"]
    content = RunFolder(run).read()
    assert content["model"] == "lstm" and content["multi_label"] is False
    assert content["metrics"]["test"]["accuracy"] > 0.9
    assert content["metrics"]["test"]["num_examples"] == content["data"]["splits"]["test"] == 36
    assert sum(map(sum, content["confusion_matrix"]["counts"])) == 36
    assert content["training"]["epochs_run"] == 4
    assert [choice["key"] for choice in content["choices"]] == [
        "tokenizer.lowercase",
        "tokenizer.vocabulary_size",
        "train.subword_dropout",
    ]
    tokens = read_vocabulary(run / "vocabulary.txt")
    assert len(tokens) == content["recipe"]["tokenizer"]["vocabulary_size"]
    assert (run / "labels.txt").read_text() == "blue\ngreen\nred\n"
    assert sum(value.size for value in weights(run).values()) >= content["parameters"]
    rows = list(csv.DictReader(colours.open()))
    tests = [json.loads(line) for line in (run / "data" / "test.jsonl").open(encoding="utf-8")]
    assert len(tests) == 36
    assert all({"text": t["text"], "label": t["labels"][0]} in rows for t in tests)
    assert not (run / "train" / "tokens").exists()
    with (run / "train" / "history.csv").open() as file:
        assert [line["epoch"] for line in csv.DictReader(file)] == ["1", "2", "3", "4"]


def test_weights_depend_on_the_seed_alone(tmp_path, colours, small_recipe):
    found = {}
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        recipe = small_recipe("average", f"train.seed={seed}", "model.dropout=0.3")
        train(colours, tmp_path / name, recipe=recipe)
        found[name] = weights(tmp_path / name)
    assert same(found["a"], found["b"])
    assert not same(found["a"], found["c"])


def test_several_labels_a_text_are_learnt(tmp_path, small_recipe):
    rng = np.random.default_rng(1)
    words = {"sweet": ["sugar", "honey"], "cold": ["ice", "snow"], "loud": ["drum", "horn"]}
    lines = ["text,labels"]
    for index in range(260):
        labels = [label for label in words if rng.random() < 0.5] or ["cold"]
        text = " ".join(rng.permutation([str(rng.choice(words[label])) for label in labels]))
        lines.append(f"{text} n{index},{'|'.join(labels)}")
    data = tmp_path / "data.csv"
    data.write_text("\n".join(lines) + "\n")
    recipe = small_recipe("average", "train.epochs=12", "train.class_weights=balanced")
    content = train(
        data,
        tmp_path / "run",
        recipe=recipe,
        options=DataOptions(label_column="labels", multi_label=True),
    )
    assert content["multi_label"] and content["confusion_matrix"] is None
    assert content["metrics"]["test"]["micro_f1"] > 0.9
    assert content["metrics"]["test"]["accuracy"] > 0.8
    labels = [json.loads(line)["labels"] for line in (tmp_path / "run/data/test.jsonl").open()]
    assert max(map(len, labels)) > 1
    assert {label for each in labels for label in each} == set(words)


def test_wordpiece_texts_are_cut_anew_in_training(tmp_path, colours, small_recipe):
    found = []
    for rate in (0, 0.5):
        recipe = small_recipe(
            "average", "tokenizer.kind=wordpiece", f"train.subword_dropout={rate}"
        )
        train(colours, tmp_path / str(rate), recipe=recipe)
        found.append(weights(tmp_path / str(rate)))
    assert not same(*found)


# --- Killed and resumed ---

CHILD = """
import json, sys, time
from pathlib import Path
from tfpipe.train import fit
from tfpipe.config import Recipe
from tfpipe.train import train
fit.CHECKPOINT_SECONDS = 0
data, run, name, sections = sys.argv[1:]
recipe = Recipe(name, **json.loads(sections))
train(data, run, recipe=recipe, progress=lambda item: time.sleep(0.02))
"""


def wait_for(condition, child, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None, "the child ended before"
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.005)


def position(run):
    """Finished epochs and updates after those, as in the checkpoint."""
    path = run / "train" / "checkpoint.npz"
    if not path.is_file():
        return 0, 0
    with np.load(path) as arrays:
        return int(arrays["state"][0]), int(arrays["state"][1])


def test_training_killed_within_an_epoch_ends_with_the_same_weights(
    tmp_path, trained_runs, colours, small_recipe
):
    recipe, run = small_recipe("lstm"), tmp_path / "run"
    sections = json.dumps(recipe.sections())
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(colours), str(run), "lstm", sections],
        stderr=subprocess.DEVNULL,
    ) as child:
        wait_for(lambda: position(run) > (1, 2), child)
        child.send_signal(signal.SIGKILL)
    epoch, step = position(run)
    assert 1 <= epoch < 4 and not (run / "run.json").exists()
    assert step, "killed between two epochs"
    said = []
    train(colours, run, recipe=recipe, existing="resume", progress=said.append)
    assert f"going on after epoch {epoch}, step {step}" in said
    assert same(weights(run), weights(trained_runs["lstm"]))
    ours, theirs = (RunFolder(path).read() for path in (run, trained_runs["lstm"]))
    assert ours["metrics"] == theirs["metrics"]


def test_interrupt_ends_with_130_and_can_be_resumed(tmp_path, make_colours, small_recipe):
    data = make_colours(tmp_path / "more.csv", num_rows=3000)
    run = tmp_path / "run"
    recipe = small_recipe()
    (tmp_path / "small.toml").write_text(recipe.to_toml())
    command = [sys.executable, "-m", "tfpipe.cli", "train", str(data), "--run", str(run)]
    command += ["--model", "average", "--recipe", str(tmp_path / "small.toml")]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        wait_for(lambda: position(run)[0] >= 1, child)
        child.send_signal(signal.SIGINT)
        output, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert output == ""
    assert "Interrupted." in said and "--resume" in said
    assert "Traceback" not in said
    assert not (run / "run.json").exists()
    train(data, run, recipe=recipe, existing="resume")
    train(data, tmp_path / "through", recipe=recipe)
    assert same(weights(run), weights(tmp_path / "through"))


def test_training_stopped_after_its_last_epoch_only_measures(begun, through, colours, small_recipe):
    assert not (begun / "run.json").exists()
    trained = []

    def note(item):
        trained.append(item) if isinstance(item, Progress) else None

    train(colours, begun, recipe=small_recipe(), existing="resume", progress=note)
    assert trained == []
    assert same(weights(begun), weights(through))


def test_training_stopped_before_its_plan_begins_anew(tmp_path, colours, small_recipe):
    def interrupt(item):
        if item == "choosing what the recipe leaves open":
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(colours, run, recipe=small_recipe(), progress=interrupt)
    train(colours, run, recipe=small_recipe(), existing="resume")
    assert (run / "run.json").is_file()


def test_resuming_nothing_begins_and_resuming_the_end_reads(tmp_path, colours, small_recipe):
    first = train(colours, tmp_path / "run", recipe=small_recipe(), existing="resume")
    stamp = (tmp_path / "run" / "variants" / "base" / "weights.npz").stat().st_mtime_ns
    again = train(colours, tmp_path / "run", recipe=small_recipe(), existing="resume")
    assert again == first
    assert (tmp_path / "run" / "variants" / "base" / "weights.npz").stat().st_mtime_ns == stamp


# --- Refusals ---


def test_resuming_with_another_recipe_is_refused(begun, colours, small_recipe, trained_runs):
    four, five = (rf"\{{'train': \{{'epochs': {epochs}\}}\}}" for epochs in (4, 5))
    with pytest.raises(ValueError, match=f"began with recipe={four}, now it is {five}. Resume w"):
        train(colours, begun, recipe=small_recipe("average", "train.epochs=5"), existing="resume")
    with pytest.raises(ValueError, match="model='average', now it is 'transformer'. Resume with t"):
        train(colours, begun, recipe=small_recipe("transformer"), existing="resume")
    # A finished run does not pass for a training with another recipe either.
    with pytest.raises(ValueError, match="'epochs': 5"):
        recipe = small_recipe("lstm", "train.epochs=5")
        train(colours, trained_runs["lstm"], recipe=recipe, existing="resume")


def test_what_nobody_teaches_by_may_differ(begun, colours, small_recipe):
    plan = RunFolder(begun).plan_json
    saved = json.loads(plan.read_text())
    saved["asked"]["recipe"]["train"]["teacher_temperature"] = 2.0
    plan.write_text(json.dumps(saved))
    recipe = small_recipe("average", "train.teacher_temperature=3")
    assert train(colours, begun, recipe=recipe, existing="resume")["model"] == "average"


def test_resuming_with_other_data_is_refused(begun, tmp_path, make_colours, small_recipe):
    other = make_colours(tmp_path / "other.csv", seed=6)
    with pytest.raises(ValueError, match="began with data_sha256='.*, or begin again with --overw"):
        train(other, begun, recipe=small_recipe(), existing="resume")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no archive"])
def test_damaged_checkpoint_is_refused(begun, colours, small_recipe, content):
    checkpoint = begun / "train" / "checkpoint.npz"
    checkpoint.write_bytes(content or checkpoint.read_bytes()[:-500])
    message = r"checkpoint\.npz does not fit this training .*Remove it to begin again, or give --ov"
    with pytest.raises(ValueError, match=message):
        train(colours, begun, recipe=small_recipe(), existing="resume")


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"asked": {}, "recipe": {}, "choices": []}'])
def test_damaged_plan_is_refused(begun, colours, small_recipe, content):
    (begun / "train" / "plan.json").write_text(content)
    message = r"plan\.json is damaged \(.*\)\. Begin again with --overwrite"
    with pytest.raises(ValueError, match=message):
        train(colours, begun, recipe=small_recipe(), existing="resume")


def test_run_that_is_there_is_refused_before_the_data_is_read(begun, small_recipe):
    with pytest.raises(FileExistsError, match="exists. Give --resume to go on with it"):
        train("no such file", begun, recipe=small_recipe())
    with pytest.raises(ValueError, match="existing='ask' must be one of"):
        train("no such file", begun, recipe=small_recipe(), existing="ask")


def test_bad_data_leaves_the_run_that_was_to_be_overwritten(begun, tmp_path, small_recipe):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError):
        train(tmp_path / "empty.csv", begun, recipe=small_recipe(), existing="overwrite")
    assert (begun / "train" / "plan.json").is_file()


def test_overwritten_run_is_that_of_the_new_recipe(begun, colours, small_recipe):
    (begun / "exports").mkdir()
    recipe = small_recipe("average", "train.epochs=1")
    content = train(colours, begun, recipe=recipe, existing="overwrite")
    assert content["training"]["epochs_run"] == 1
    assert not (begun / "exports").exists()


@pytest.mark.parametrize("fails", ["checkpoint.npz", "weights.npz", "plan.json", "run.json"])
def test_full_disk_is_one_clear_error_and_can_be_resumed(
    tmp_path, colours, small_recipe, monkeypatch, through, fails
):
    run, replace = tmp_path / "run", os.replace

    def full(source, target, **options):
        if str(target).endswith(fails):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target, **options)

    message = r"run='.*run' stopped: .*No space left on device.* then give --resume to go on"
    with monkeypatch.context() as patch, pytest.raises(OSError, match=message):
        patch.setattr(os, "replace", full)
        train(colours, run, recipe=small_recipe())
    names = [file.name for file in run.rglob("*")]
    assert not any(name == fails or name.endswith(".part") for name in names)
    train(colours, run, recipe=small_recipe(), existing="resume")
    assert same(weights(run), weights(through))


@pytest.mark.parametrize("existing", ["resume", "overwrite"])
def test_run_that_another_process_trains_is_left_alone(
    tmp_path, colours, small_recipe, through, existing
):
    run, refused = tmp_path / "run", []

    def meanwhile(item):
        if isinstance(item, Progress) and item.epoch == 2 and not refused:
            with pytest.raises(ValueError, match="run='.*run' is being trained by another process"):
                train(colours, run, recipe=small_recipe(), existing=existing)
            refused.append(existing)

    train(colours, run, recipe=small_recipe(), progress=meanwhile)
    assert refused and same(weights(run), weights(through))


def test_folder_that_cannot_be_made_is_one_clear_error(tmp_path, colours, small_recipe):
    (tmp_path / "run").symlink_to(tmp_path / "unmounted" / "run")
    with pytest.raises(OSError, match="stopped: .*run.* then give --resume to go on"):
        train(colours, tmp_path / "run", recipe=small_recipe())


# --- TensorBoard ---


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [
            (event.step, float(tf.make_ndarray(event.tensor_proto)))
            for event in events.Tensors(tag)
        ]
        for tag in events.Tags()["tensors"]
    }


def test_tensorboard_shows_every_epoch_of_a_resumed_training(tmp_path, colours, small_recipe):
    pytest.importorskip("tensorboard")
    recipe, run = small_recipe("average", "train.tensorboard=true"), tmp_path / "run"

    def interrupt(item):
        if isinstance(item, Progress) and len(item.history) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(colours, run, recipe=recipe, progress=interrupt)
    train(colours, run, recipe=recipe, existing="resume")
    with (run / "train" / "history.csv").open() as file:
        lines = list(csv.DictReader(file))
    wanted = {
        "train": {"loss": "loss", "accuracy": "accuracy", "learning_rate": "learning_rate"},
        "validation": {"loss": "val_loss", "accuracy": "val_accuracy"},
    }
    for curve, names in wanted.items():
        found = scalars(run / "train" / "tensorboard" / curve)
        assert sorted(found) == sorted(names)
        for tag, key in names.items():
            assert [step for step, _ in found[tag]] == [1, 2, 3, 4]
            values = [float(line[key]) for line in lines]
            assert [value for _, value in found[tag]] == pytest.approx(values)


def test_without_tensorboard_nothing_begins(tmp_path, small_recipe, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    message = r"train\.tensorboard=true needs .* pip install 'tfpipe\[tensorboard\]'"
    with pytest.raises(ValueError, match=message):
        recipe = small_recipe("average", "train.tensorboard=true")
        train("no such file", tmp_path / "run", recipe=recipe)
    assert not (tmp_path / "run").exists()


def test_event_files_that_cannot_be_written_are_an_os_error(tmp_path):
    pytest.importorskip("tensorboard")
    from tfpipe.train.tensorboard import EpochLog

    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file/log cannot be written: "):
        EpochLog(tmp_path / "file" / "log").write(LINE)


# --- What is shown meanwhile ---


def test_off_a_terminal_an_epoch_is_a_line(capsys):
    with ProgressDisplay() as display:
        display("reading data.csv")
        for step in range(1, 6):
            display(Progress(1, 2, step, 5, []))
        display(Progress(1, 2, 5, 5, [LINE]))
        for step in range(1, 6):
            display(Progress(2, 2, step, 5, [LINE]))
        display(Progress(2, 2, 5, 5, [LINE, {**LINE, "epoch": 2}]))
        display("measuring")
    output = capsys.readouterr()
    assert output.out == ""
    line = "loss 0.5000  accuracy 0.7500  validation loss 0.2500  validation accuracy 1.0000  1.2 s"
    assert output.err.splitlines() == [
        "reading data.csv",
        f"epoch 1/2  {line}",
        f"epoch 2/2  {line}",
        "measuring",
    ]


TERMINAL_CHILD = """
import sys, time
from tfpipe.fit_progress import Progress
from tfpipe.cli.progress import ProgressDisplay
line = dict(epoch=1, loss=0.5, accuracy=0.75, val_loss=0.25, val_accuracy=1.0, seconds=1.0)
with ProgressDisplay() as display:
    for step in range(int(sys.argv[1]), 41):
        display(Progress(1, 2, step, 40, []))
        time.sleep(0.1)
    display(Progress(1, 2, 40, 40, [line]))
"""


def shown_on_a_terminal(first_step):
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    command = [sys.executable, "-c", TERMINAL_CHILD, str(first_step)]
    with subprocess.Popen(command, stdout=slave, stderr=slave, env=environment) as child:
        os.close(slave)
        shown = b""
        while True:
            try:
                chunk = os.read(master, 4096)
            except OSError:  # Linux ends a terminal that nobody holds with EIO.
                break
            if not chunk:
                break
            shown += chunk
    os.close(master)
    assert child.returncode == 0, shown
    return shown.decode()


def test_on_a_terminal_a_bar_shows_the_time_left():
    shown = shown_on_a_terminal(1)
    assert "training  [" in shown and "50%" in shown
    assert "\repoch 1/2" in shown.replace("\x1b[K", "")
    assert re.search(r"\d\d:\d\d:\d\d", shown)


def test_bar_of_a_resumed_training_counts_what_is_left():
    # Updates 21 to 40 of 80 are the first third of the 60 that are left.
    shown = shown_on_a_terminal(21)
    assert "33%" in shown and "50%" not in shown
    # At 0.1 s each, or more, the other 40 take 4 s; counted from update 1 it would be half of that.
    left = re.findall(r"00:(\d\d):(\d\d)", shown)
    assert left and all(int(minutes) * 60 + int(seconds) >= 3 for minutes, seconds in left)


# --- The small parts ---


def test_variant_gives_the_trained_model_back(trained_runs, tmp_path):
    model = variant.load_model(RunFolder(trained_runs["lstm"]), "base")
    saved = weights(trained_runs["lstm"])
    for index, value in enumerate(model.get_weights()):
        np.testing.assert_array_equal(value, saved[f"arr_{index}"])
    with pytest.raises(ValueError, match=r"variant='pruned' is not in .*\. It holds: \['base'\]"):
        variant.load_model(RunFolder(trained_runs["lstm"]), "pruned")
    run = tmp_path / "run"
    shutil.copytree(trained_runs["lstm"], run)
    path = run / "variants" / "base" / "weights.npz"
    for content in (b"", path.read_bytes()[:-100]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.npz does not hold the weights of this run"):
            variant.load_model(RunFolder(run), "base")
    shutil.copy(trained_runs["transformer"] / "variants" / "base" / "weights.npz", path)
    with pytest.raises(ValueError, match="of this run's lstm .*Train the run again with --overw"):
        variant.load_model(RunFolder(run), "base")


def test_versions_name_every_package(monkeypatch):
    found = versions.read_versions()
    assert set(found) == {"python", *versions.PACKAGES}
    assert found["tensorflow"] == tf.__version__
    monkeypatch.setattr(versions, "PACKAGES", ("no-such-package",))
    assert versions.read_versions()["no-such-package"] == "unknown"
    assert versions.now().endswith("+00:00")


def test_verbs_are_modules_that_can_be_called(tmp_path):
    assert tfpipe.train is sys.modules["tfpipe.train"]
    assert tfpipe.train.DataOptions is DataOptions
    with pytest.raises(ValueError, match="neither a file nor a packaged data set"):
        tfpipe.train("no such file", tmp_path / "run")
    verb.make_callable("tfpipe.train.run_record", lambda value: value + 1)
    assert run_record(1) == 2


def test_quiet_hides_native_words_alone(capfd):
    with quiet.quiet_stderr():
        os.write(2, b"native\n")
    os.write(2, b"after\n")
    with pytest.raises(RuntimeError), quiet.quiet_stderr():
        raise RuntimeError
    os.write(2, b"still\n")
    assert capfd.readouterr().err == "after\nstill\n"


def test_tensorflow_comes_without_keras_3_and_leaves_the_environment_alone():
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys\nfrom tfpipe.quiet import import_tensorflow\nimport_tensorflow()\n"
            "print('tensorflow' in sys.modules, 'keras' in sys.modules, "
            "os.environ.get('TF_USE_LEGACY_KERAS'))",
        ],
        env={key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert said.stdout == "True False None\n"


def test_run_says_where_its_data_lies_as_seen_from_beside_it(through, colours, tmp_path):
    data = json.loads((through / "run.json").read_text("utf-8"))["data"]
    assert (through.parent / data["source_path"]).resolve() == colours.resolve()
    assert not Path(data["source_path"]).is_absolute() and data["test_path"] is None


def test_packaged_data_has_no_path_but_a_test_file_of_ones_own_has(tmp_path):
    packaged = open_dataset("languages")
    assert packaged.test_source == "languages.test.tsv.gz" and packaged.own_test is None
    run = tmp_path / "runs" / "languages"
    assert run_record.data_paths(packaged, run) == {"source_path": None, "test_path": None}
    assert plan_file.source_of(packaged) == {"data": "languages", "test": None}
    own = tmp_path / "own.csv"
    own.write_text(f"text,label\na sentence,{packaged.labels[0]}\n")
    tested = open_dataset("languages", test=own)
    paths = {"source_path": None, "test_path": os.path.join("..", "own.csv")}
    assert run_record.data_paths(tested, run) == paths
    assert plan_file.source_of(tested) == {"data": "languages", "test": str(own)}
