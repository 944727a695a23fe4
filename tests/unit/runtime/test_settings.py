"""Settings: flag, environment, nearest partita.toml, then ./partita.db."""

from pathlib import Path

import pytest

from partita.errors import Rejected
from partita.runtime.settings import find_settings, naming_store, store_path


@pytest.fixture(autouse=True)
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a partita.toml above it, and no environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARTITA_STORE", raising=False)
    monkeypatch.delenv("PARTITA_APP", raising=False)


def configure(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "partita.toml").write_text(text)


def test_without_anything_the_store_is_in_this_folder() -> None:
    found = find_settings()

    assert (found.store, found.app) == (Path("partita.db"), None)
    assert (found.store_source, found.app_source) == ("default", "none")


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path, 'store = "file.db"\napp = "file:app"')
    assert (find_settings().store, find_settings().app) == (tmp_path / "file.db", "file:app")

    monkeypatch.setenv("PARTITA_STORE", "env.db")
    monkeypatch.setenv("PARTITA_APP", "env:app")
    assert (find_settings().store, find_settings().app) == (Path("env.db"), "env:app")

    found = find_settings(store="flag.db", app="flag:app")
    assert (found.store, found.app) == (Path("flag.db"), "flag:app")
    assert (found.store_source, found.app_source) == ("--store", "--app")


def test_store_and_app_are_found_each_for_itself(tmp_path: Path) -> None:
    configure(tmp_path, 'store = "file.db"')

    found = find_settings(app="flag:app")

    assert (found.store, found.store_source) == (tmp_path / "file.db", "partita.toml")
    assert (found.app, found.app_source) == ("flag:app", "--app")


def test_the_nearest_file_above_wins_and_names_paths_from_its_folder(tmp_path: Path) -> None:
    configure(tmp_path, 'store = "far.db"')
    configure(tmp_path / "a", 'store = "data/near.db"')
    (tmp_path / "a" / "b").mkdir()

    found = find_settings(start=tmp_path / "a" / "b")

    assert found.store == tmp_path / "a" / "data" / "near.db"
    assert found.folder == tmp_path / "a"


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTITA_STORE", "")

    assert find_settings().store == Path("partita.db")


@pytest.mark.parametrize("text", ["store = ", "store = 'a'\nstore = 'b'", "\x00"])
def test_a_file_that_can_not_be_read_is_refused_by_name(tmp_path: Path, text: str) -> None:
    configure(tmp_path, text)

    with pytest.raises(Rejected, match=r"partita\.toml can't be read") as error:
        find_settings()

    assert error.value.remedy == "Mend it, or name --store and --app."


@pytest.mark.parametrize("text", ["store = 3", "app = ['a']"])
def test_a_setting_that_is_no_text_is_refused(tmp_path: Path, text: str) -> None:
    configure(tmp_path, text)

    with pytest.raises(Rejected, match=r"partita\.toml: .* is no text\nWrite it in quotes"):
        find_settings()


@pytest.mark.parametrize(
    ("store", "path"),
    [
        ("shop.db", "shop.db"),
        ("/var/shop.db", "/var/shop.db"),
        ("sqlite:///shop.db", "shop.db"),
        ("sqlite:////var/shop.db", "/var/shop.db"),
    ],
)
def test_a_store_is_a_path_or_a_url_of_one(store: str, path: str) -> None:
    assert store_path(store) == Path(path)


@pytest.mark.parametrize("store", ["postgresql:///shop", "postgres://host/shop"])
def test_another_kind_of_store_is_refused(store: str) -> None:
    with pytest.raises(Rejected, match="stores are not part of this version\nUse a path, or sqlite:///path"):
        store_path(store)


@pytest.mark.parametrize("store", ["sqlite://shop.db", "sqlite:///", "sqlite://"])
def test_a_url_that_names_no_file_is_refused(store: str) -> None:
    with pytest.raises(Rejected, match=r"names no file\nWrite sqlite:///relative\.db"):
        store_path(store)


def test_users_code_finds_the_store_that_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with naming_store(Path("here.db")):
        assert find_settings().store == tmp_path / "here.db"
    assert find_settings().store == Path("partita.db")

    monkeypatch.setenv("PARTITA_STORE", "before.db")
    with naming_store(Path("here.db")):
        pass
    assert find_settings().store == Path("before.db")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('stores = "a.db"', "stores is no setting\nDid you mean store? It knows app, store and limits."),
        ("[limit]\nkey_bytes_max = 1", "limit is no setting\nDid you mean limits?"),
        ("xyz = 1", "xyz is no setting\nIt knows app, store and limits."),
    ],
)
def test_a_setting_that_there_is_not_is_refused_and_the_known_ones_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "partita.toml").write_text(text)

    with pytest.raises(Rejected) as error:
        find_settings(start=tmp_path)

    assert said in str(error.value)
