"""What people do to a notebook: run all twice, edit the parameter cell and run it again, mistype a parameter."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from lib.common.bundled import ROOT
from lib.grid.run import execute

CELLS = {
    "01_generate": "params_file = 'classroom'\noverrides = {}",
    "02_inspect": "params_file = 'classroom'\ncompare = []\noverrides = {}",
    "03_train": "params_file = 'classroom'\nsubset = 'ss'\nseed = 0\nexplain = True\noverrides = {}",
    "04_score": "params_file = 'classroom'\nsubset = 'ss'\nseed = 0\nexplain = True\noverrides = {}",
    "05_influence": "params_file = 'classroom'\nresults = ''\noverrides = {}",
    "06_predict": "params_file = 'classroom'\nmerge = []\nsample = 16\noverrides = {}",
    "07_improve": "params_file = 'classroom'\nfresh = False\nsplits = 2\noverrides = {}",
    "08_why": "params_file = 'classroom'\nsample = 64\noverrides = {}",
}


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A shell in which the data of the default run are there."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text("{}")
    monkeypatch.setattr("lib.params.params.Params.study_dir", tmp_path)
    return InteractiveShell()


def run(shell, *cells):
    for cell in cells:
        done = shell.run_cell(cell, store_history=True)
        if not done.success:
            return str(done.error_in_exec or done.error_before_exec)
    return ""


@pytest.mark.parametrize("stage", CELLS)
def test_run_all_three_times_and_the_parameter_cell_again(shell, stage):
    begin = f"from lib.notebook.cells import start\n\nparams = start(globals(), '{stage}')"
    work = "table = [1, 2]\nfor row in table:\n    last = row"
    literal = "category = 'ss'"
    for _ in range(3):
        assert run(shell, CELLS[stage], begin, work, literal) == ""
    assert run(shell, CELLS[stage].replace("{}", "{'training.learning_rate': 1e-3}"), begin) == ""
    assert shell.user_ns["params"].training.learning_rate == 1e-3
    assert run(shell, literal, begin) == "", "what another cell sets is no parameter"


def test_what_papermill_injects_is_checked(shell):
    begin = "from lib.notebook.cells import start\nparams = start(globals(), '03_train')"
    assert "did you mean 'seed'" in run(shell, CELLS["03_train"], "# Parameters\nsedd = 3\n", begin)
    assert "" == run(shell, CELLS["03_train"], '# Parameters\nsubset = "ll+ss"\n', begin)
    assert shell.user_ns["subset"] == "ss+ll"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("notebook", "given", "told"),
    [("03_train", {"sedd": 1}, "did you mean 'seed'"), ("04_score", {"subset": "bse"}, "did you mean base?")],
)
def test_an_error_of_a_notebook_is_one_sentence_and_nothing_else(tmp_path, capfd, notebook, given, told):
    why = execute(ROOT / "notebooks" / f"{notebook}.ipynb", tmp_path / "out.ipynb", given)
    assert why.startswith("KitError: ") and told in why and "\n" not in why
    assert capfd.readouterr().err == ""
