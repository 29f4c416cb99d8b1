"""How `make lab` opens JupyterLab: the whole kit in the file browser, notebook 01 first, as any user."""

from pathlib import Path

c = get_config()  # noqa: F821  (Jupyter defines it)
c.ServerApp.root_dir = str(Path(__file__).resolve().parents[1])
c.ServerApp.allow_root = True  # a container's only user is root
c.KernelManager.transport = "ipc"  # sockets that only this user can open, in place of open TCP ports
c.LabApp.default_url = "/lab/tree/notebooks/01_generate.ipynb"
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
