"""Opens accounts and moves money between them, as examples/transfer does in Go: it reads all events about the accounts,
decides, saves its own event, and decides once more when another one about them came meanwhile.

    apt-get install python3-grpcio python3-grpc-tools
    python3 transfer.py open alice 100
    python3 transfer.py alice bob 30

ORISUN_ADDRESS, ORISUN_USER (user:password) and ORISUN_BOUNDARY say where.
"""
import base64
import json
import os
import random
import re
import sys
import tempfile
import time
import uuid

import grpc
import grpc_tools
from grpc_tools import protoc

# A program of yours generates the messages when it is built. grpc_tools has the well-known types, such as Timestamp.
PROTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "proto")
WELL_KNOWN = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
GENERATED = tempfile.TemporaryDirectory()
OUT = GENERATED.name
if protoc.main(["", f"-I{PROTO}", f"-I{WELL_KNOWN}", f"--python_out={OUT}", f"--grpc_python_out={OUT}",
                "eventstore.proto"]) != 0:
    raise SystemExit("the protocol could not be compiled")
sys.path.insert(0, OUT)
import eventstore_pb2 as pb  # noqa: E402
import eventstore_pb2_grpc as rpc  # noqa: E402

ADDRESS = os.environ.get("ORISUN_ADDRESS", "localhost:5005")
BOUNDARY = os.environ.get("ORISUN_BOUNDARY", "orisun_test_1")
BASIC = "Basic " + base64.b64encode(os.environ.get("ORISUN_USER", "admin:changeit").encode()).decode()
DEADLINE = time.monotonic() + 30  # of the whole command
PAUSE = 0.1  # at most
PAGE = 1000
MAX_CENTS = 2**63 - 1  # what a program in Go can read


class Refused(Exception):
    """The rule does not allow the command."""


class Store:
    """Sends the password once and the token after, and repeats UNAVAILABLE until the deadline."""

    def __init__(self):
        self.stub = rpc.EventStoreStub(grpc.insecure_channel(ADDRESS))
        self.token = None

    def call(self, method, request):
        while True:
            credentials = ("x-auth-token", self.token) if self.token else ("authorization", BASIC)
            try:
                answer, call = getattr(self.stub, method).with_call(
                    request, metadata=(credentials,), timeout=DEADLINE - time.monotonic()
                )
                self.token = dict(call.initial_metadata()).get("x-auth-token", self.token)
                return answer
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNAUTHENTICATED and self.token:
                    self.token = None
                elif error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() + PAUSE > DEADLINE:
                    raise
                jitter()  # saves are repeated, too: they are idempotent


def jitter():
    time.sleep(PAUSE * random.random())


def fold(balances, event_type, data):
    if event_type == "AccountOpened":
        changes = [(data["account"], data["balance"])]
    else:
        changes = [(data["from"], -data["amount"]), (data["to"], data["amount"])]
    for account, cents in changes:
        balances[account] = balances.get(account, 0) + cents


def decide(balances, payer, payee, cents):
    """Is the rule: an account is opened once, and pays only what it has."""
    opening = payer == "open"
    if opening and payee in balances:
        raise Refused(f"account {payee} is open already")
    if opening and cents >= 0 and payee:
        return "AccountOpened", {"account": payee, "balance": cents}
    if opening or cents <= 0 or payer == payee:
        raise Refused("the amount must be positive, and the accounts must differ and have names")
    if payer not in balances or payee not in balances:
        raise Refused(f"{payer} and {payee} are not both open accounts")
    if balances[payer] < cents:
        raise Refused(f"the balance does not suffice: {payer} has {balances[payer]}")
    if balances[payee] + cents > MAX_CENTS:
        raise Refused(f"the balance of {payee} becomes too large")
    return "MoneyTransferred", {"from": payer, "to": payee, "amount": cents}


def run(store, payer, payee, cents):
    fields = ("account", "from", "to")
    context = pb.Query(criteria=[
        pb.Criterion(tags=[pb.Tag(key=field, value=account)]) for account in (payer, payee) for field in fields
    ])
    event_id = str(uuid.uuid4())  # the same in each attempt: retries have priority
    balances, seen = {}, pb.Position(transaction_id=-1, global_id=-1)
    while True:
        full = True
        while full:  # only what is new since the last attempt
            request = pb.GetEventsRequest(boundary=BOUNDARY, query=context, after_position=seen, count=PAGE)
            events = store.call("GetEvents", request).events
            for event in events:
                fold(balances, event.event_type, json.loads(event.data))
                seen = event.position
            full = len(events) == PAGE
        event_type, data = decide(balances, payer, payee, cents)
        event = pb.EventToSave(event_id=event_id, event_type=event_type, data=json.dumps(data), metadata="{}")
        unchanged = pb.SaveQuery(expected_position=seen, subset_query=context)
        try:
            store.call("SaveEvents", pb.SaveEventsRequest(boundary=BOUNDARY, query=unchanged, events=[event]))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                raise
            jitter()  # CONTEXT_CHANGED
            continue
        print(f"{payee} has {balances.get(payee, 0) + cents}")
        return


def main(arguments):
    if len(arguments) != 3 or not re.fullmatch("-?[0-9]{1,19}", arguments[2]) or int(arguments[2]) > MAX_CENTS:
        raise SystemExit("usage: open ACCOUNT CENTS, or FROM TO CENTS; CENTS is a whole number below 2^63")
    try:
        run(Store(), arguments[0], arguments[1], int(arguments[2]))
    except Refused as refused:
        raise SystemExit(f"transfer: {refused}") from None
    except grpc.RpcError as error:
        raise SystemExit(f"transfer: {ADDRESS}: {error.code().name}: {error.details()}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
