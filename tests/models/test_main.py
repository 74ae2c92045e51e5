"""The command line: exit codes, one-line errors, and finished work that is not done again."""

import json

import pytest

from models.__main__ import COMMANDS, main


def test_every_command_names_a_function_that_exists():
    import importlib

    for target in COMMANDS.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"recipe": "smoke"}, "corpus_files"),
        ({"recipe": "none", "corpus_files": ["x"]}, "none"),
        ({"recipe": "smoke", "corpus_files": ["nowhere.parquet"]}, "nowhere.parquet"),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_2(tmp_path, config_file, capsys, config, named):
    assert main(["tokenizer", "--config", str(config_file(config)), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1
    assert not (tmp_path / "out" / "final").exists()


@pytest.mark.parametrize("content", ["not json", "[]"])
def test_configuration_that_is_no_object_is_refused(tmp_path, capsys, content):
    path = tmp_path / "c.json"
    path.write_text(content)
    assert main(["tokenizer", "--config", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "c.json" in capsys.readouterr().err


def test_missing_configuration_and_missing_out_are_named(tmp_path, config_file, capsys):
    assert main(["tokenizer", "--config", str(tmp_path / "absent.json"), "--out", str(tmp_path)]) == 2
    assert "absent.json" in capsys.readouterr().err
    assert main(["tokenizer", "--config", str(config_file({}))]) == 2
    assert "--out" in capsys.readouterr().err


def test_file_that_is_not_parquet_is_named(tmp_path, config_file, capsys):
    (tmp_path / "bad.parquet").write_text("hello")
    config = config_file({"recipe": "smoke", "corpus_files": [str(tmp_path / "bad.parquet")]})
    assert main(["tokenizer", "--config", str(config), "--out", str(tmp_path / "out")]) == 2
    assert "bad.parquet" in capsys.readouterr().err


def test_finished_work_is_kept_and_damaged_work_is_refused(trained, config_file, tmp_path, capsys):
    config = config_file({"recipe": "smoke", "corpus_files": [str(trained["corpus"])], "vocab_size": 300})
    arguments = ["tokenizer", "--config", str(config), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    trained_file = tmp_path / "out" / "final" / "tokenizer.json"
    before = trained_file.stat().st_mtime_ns
    assert main(arguments) == 0
    assert trained_file.stat().st_mtime_ns == before
    assert "nothing to do" in capsys.readouterr().err
    trained_file.write_text(json.dumps({}))
    assert main(arguments) == 2
    assert "tokenizer.json" in capsys.readouterr().err
