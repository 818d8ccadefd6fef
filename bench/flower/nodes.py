"""Nodes of the Flower measurement: threads of one process that speak Flower's own Fleet API.

nodes.py COUNT FLOATS ADDRESS: each receives the model, throws it away, and answers with values of its own. Two at a
time: what the nodes take of the machine is not what is measured.
"""

import sys
import threading
import time

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.client.grpc_rere_client.connection import grpc_request_response
from flwr.common import Array
from flwr.common.grpc import GRPC_MAX_MESSAGE_LENGTH
from flwr.common.retry_invoker import make_simple_grpc_retry_invoker
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import pull_objects, push_objects

COUNT, FLOATS, ADDRESS = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
LAYERS = 8
TURN = threading.Semaphore(2)
_random = np.random.default_rng(1)
BASE = [_random.standard_normal(FLOATS // LAYERS, dtype=np.float32) for _ in range(LAYERS)]


def answer(node, served, message):
    factor = np.float32(1 + (node + 1) * 1e-3 + served * 1e-5)
    arrays = ArrayRecord({f"layer{i}": Array(layer * factor) for i, layer in enumerate(BASE)})
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 100})})
    return Message(content, reply_to=message)


def serve(node, connection):
    node_id, receive, send, _, _, pull_object, push_object, confirm = connection
    served = 0
    while True:
        received = receive()
        if received is None:
            time.sleep(0.1)
            continue
        message, tree = received
        run, identifier = message.metadata.run_id, message.metadata.message_id
        with TURN:
            wanted = [branch.object_id for branch in iterate_object_tree(tree)]
            pull_objects(wanted, pull_object_fn=lambda object_id, run=run: pull_object(run, object_id))
            confirm(run, identifier)
            reply = answer(node, served, message)
            reply.metadata.__dict__["_src_node_id"] = node_id
            with no_object_id_recompute():
                reply.metadata.__dict__["_message_id"] = reply.object_id
                missing = send(reply, get_object_tree(reply), 0.0)
                push_objects(
                    get_all_nested_objects(reply),
                    lambda object_id, content, run=run: push_object(run, object_id, content),
                    object_ids_to_push=missing,
                )
            served += 1


def node_for_ever(node):
    while True:
        try:
            retry = make_simple_grpc_retry_invoker()
            with grpc_request_response(ADDRESS, True, retry, GRPC_MAX_MESSAGE_LENGTH) as connection:
                serve(node, connection)
        except Exception as error:  # the server may not be up yet
            print(f"node {node}: {error}", file=sys.stderr, flush=True)
            time.sleep(1)


for number in range(COUNT):
    threading.Thread(target=node_for_ever, args=(number,), daemon=True).start()
sys.stdin.read()
