"""Controllers are files to share: from a folder, from a repository, with a card; nothing in them is executed."""

import sys
from types import SimpleNamespace

import pytest

import agents
from agents.cli import main


@pytest.fixture
def folder(tmp_path):
    agents.load("ppo").save(tmp_path / "controller.safetensors")
    return tmp_path


@pytest.fixture
def hub(folder, monkeypatch):
    """A Hub of one repository, which lies in a local folder; what was asked for is recorded."""
    asked = []

    def hf_hub_download(repository, name):
        asked.append((repository, name))
        if repository != "user/mine" or not (folder / name).is_file():
            raise OSError("404 Client Error")
        return str(folder / name)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=hf_hub_download))
    return asked


@pytest.mark.parametrize("as_text", [True, False])
def test_a_folder_is_loaded_by_the_controller_in_it(folder, as_text):
    assert agents.load(str(folder) if as_text else folder).interface == agents.load("ppo").interface


def test_a_repository_gives_its_controller_file_and_nothing_else(hub):
    assert agents.load("hf:user/mine").interface == agents.load("ppo").interface
    assert hub == [("user/mine", "controller.safetensors")]


def test_a_repository_that_is_not_there_is_one_error(hub):
    with pytest.raises(ValueError, match="hf:user/other: expected a repository .* with controller.safetensors; 404"):
        agents.load("hf:user/other")


def test_a_pickle_in_the_place_of_a_controller_is_refused(folder, hub):
    (folder / "controller.safetensors").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(ValueError, match="expected a controller file"):
        agents.load("hf:user/mine")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"needs huggingface-hub, .* pip install .optcontrol.share."):
        agents.load("hf:user/mine")


def test_a_card_says_what_the_file_says_and_is_not_overwritten_unasked(folder, capsys):
    file = str(folder / "controller.safetensors")
    assert main(["card", file]) == 0
    text = (folder / "README.md").read_text()
    assert (
        "| kind | mlp |" in text and "| sets | scale, second_moment, relative control |" in text and "12-" not in text
    )
    assert "| starts from | first updates of norm 0.35 |" in text and text.startswith("---\nlibrary_name:")
    assert main(["card", file]) == 2
    assert "expected no card yet; there is one" in capsys.readouterr().err
    assert main(["card", file, "--overwrite"]) == 0
