"""Never run: the nodes of the measurement speak the protocol themselves (see nodes.py)."""

from flwr.clientapp import ClientApp

app = ClientApp()
