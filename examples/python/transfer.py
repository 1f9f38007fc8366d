"""Moves money between two accounts, as examples/transfer does in Go: read the context, decide, save, and begin again
when the context has changed.

    apt-get install python3-grpcio python3-grpc-tools
    python3 transfer.py open alice 100
    python3 transfer.py transfer alice bob 30

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
from grpc_tools import protoc

PROTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "proto")


def generate():
    """Generates the messages; a program of yours does so when it is built."""
    out = tempfile.TemporaryDirectory()
    arguments = ["protoc", "-I" + PROTO, "--python_out=" + out.name, "--grpc_python_out=" + out.name,
                 "eventstore.proto"]
    # grpc_tools carries the well-known types, such as Timestamp.
    import pkg_resources

    arguments.insert(1, "-I" + pkg_resources.resource_filename("grpc_tools", "_proto"))
    if protoc.main(arguments) != 0:
        raise SystemExit("the protocol could not be compiled")
    sys.path.insert(0, out.name)
    return out


generated = generate()
import eventstore_pb2 as pb  # noqa: E402
import eventstore_pb2_grpc as rpc  # noqa: E402

BOUNDARY = os.environ.get("ORISUN_BOUNDARY", "orisun_test_1")
USER = os.environ.get("ORISUN_USER", "admin:changeit")
START = pb.Position(transaction_id=-1, global_id=-1)
PAGE = 1000
MAX_CENTS = 2**63 - 1  # what a program in Go can read


class Store:
    """Sends the password once and the token after, and repeats calls that meet a server that is away."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.stub = rpc.EventStoreStub(self.channel)
        self.token = None

    def call(self, method, request):
        attempt = 0
        while True:
            basic = "Basic " + base64.b64encode(USER.encode()).decode()
            credentials = ("x-auth-token", self.token) if self.token else ("authorization", basic)
            try:
                answer, call = getattr(self.stub, method).with_call(
                    request, metadata=(credentials,), timeout=30, wait_for_ready=True
                )
                self.token = dict(call.initial_metadata()).get("x-auth-token", self.token)
                return answer
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNAUTHENTICATED and self.token:
                    self.token = None
                elif error.code() != grpc.StatusCode.UNAVAILABLE or attempt == 10:
                    raise
                # Saves may be repeated, too: they are idempotent.
                time.sleep(0.1 * random.random() * 2**attempt)
                attempt += 1

    def save(self, criteria, seen, event_id, event_type, data):
        condition = pb.SaveQuery(expected_position=seen, subset_query=pb.Query(criteria=criteria))
        event = pb.EventToSave(event_id=event_id, event_type=event_type, data=json.dumps(data), metadata="{}")
        return self.call("SaveEvents", pb.SaveEventsRequest(boundary=BOUNDARY, query=condition, events=[event]))


def about(*accounts):
    return [pb.Criterion(tags=[pb.Tag(key=key, value=a)]) for a in accounts for key in ("account", "from", "to")]


def open_account(store, account, balance):
    if not account or balance < 0:
        raise SystemExit("transfer: an account needs a name, and a balance that is not negative")
    data = {"account": account, "balance": balance}
    try:
        store.save(about(account), START, str(uuid.uuid4()), "AccountOpened", data)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.ALREADY_EXISTS:
            raise
        raise SystemExit(f"transfer: account {account} is open already") from None


def transfer(store, payer, payee, amount):
    if amount <= 0 or payer == payee:
        raise SystemExit("transfer: the amount must be positive, and the accounts must differ")
    criteria, balances, seen = about(payer, payee), {}, START
    event_id = str(uuid.uuid4())  # the same in each attempt: retries have priority
    while True:
        more = True
        while more:  # only what is new since the last attempt
            request = pb.GetEventsRequest(
                boundary=BOUNDARY, query=pb.Query(criteria=criteria), after_position=seen, count=PAGE
            )
            events = store.call("GetEvents", request).events
            for event in events:
                data = json.loads(event.data)
                if event.event_type == "AccountOpened":
                    balances[data["account"]] = balances.get(data["account"], 0) + data["balance"]
                elif event.event_type == "MoneyTransferred":
                    balances[data["from"]] = balances.get(data["from"], 0) - data["amount"]
                    balances[data["to"]] = balances.get(data["to"], 0) + data["amount"]
                seen = event.position
            more = len(events) == PAGE
        for account in (payer, payee):
            if account not in balances:
                raise SystemExit(f"transfer: there is no account {account}")
        if balances[payer] < amount:
            raise SystemExit(f"transfer: the balance does not suffice: {payer} has {balances[payer]}")
        if balances[payee] + amount > MAX_CENTS:
            raise SystemExit(f"transfer: the balance of {payee} becomes too large")
        try:
            store.save(criteria, seen, event_id, "MoneyTransferred", {"from": payer, "to": payee, "amount": amount})
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:  # CONTEXT_CHANGED
                raise
            continue
        print(f"{payer} has {balances[payer] - amount}, {payee} has {balances[payee] + amount}")
        return


def main(arguments):
    match arguments:
        case ["open", account, cents] if is_cents(cents):
            command, accounts = open_account, [account]
        case ["transfer", payer, payee, cents] if is_cents(cents):
            command, accounts = transfer, [payer, payee]
        case _:
            raise SystemExit("usage: open ACCOUNT CENTS, or transfer FROM TO CENTS; CENTS is a whole number")
    address = os.environ.get("ORISUN_ADDRESS", "localhost:5005")
    try:
        command(Store(address), *accounts, int(cents))
    except grpc.RpcError as error:
        raise SystemExit(f"transfer: {address}: {error.code().name}: {error.details()}") from None


def is_cents(text):
    return re.fullmatch(r"-?[0-9]{1,19}", text) is not None and int(text) <= MAX_CENTS


if __name__ == "__main__":
    main(sys.argv[1:])
