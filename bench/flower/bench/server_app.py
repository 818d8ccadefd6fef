"""FedAvg as Flower ships it, with the time of every round written down as a JSON line."""

import json
import time

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.common import Array
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

LAYERS = 8
app = ServerApp()


class TimedFedAvg(FedAvg):
    """A round is from before the model goes out until the mean is there."""

    def __init__(self, out, **options):
        super().__init__(**options)
        self.out = out
        self.began = 0.0

    def configure_train(self, *args, **kwargs):
        self.began = time.time()
        return super().configure_train(*args, **kwargs)

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        received = time.time()
        result = super().aggregate_train(server_round, replies)
        line = {
            "round": server_round,
            "replies": len(replies),
            "exchangeSeconds": received - self.began,
            "wallSeconds": time.time() - self.began,
        }
        with open(self.out, "a", encoding="utf8") as file:
            file.write(json.dumps(line) + "\n")
        return result


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    nodes = config["nodes"]
    random = np.random.default_rng(0)
    size = config["floats"] // LAYERS
    initial = {f"layer{i}": Array(random.standard_normal(size, dtype=np.float32)) for i in range(LAYERS)}
    strategy = TimedFedAvg(
        config["out"],
        fraction_train=1.0,
        fraction_evaluate=0.0,
        min_train_nodes=nodes,
        min_available_nodes=nodes,
    )
    strategy.start(grid=grid, initial_arrays=ArrayRecord(initial), num_rounds=config["rounds"], timeout=3600)
