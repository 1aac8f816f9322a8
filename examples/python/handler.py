"""The triage example as a handler in Python. It needs Python 3.9 or later and
no packages:

    PORT=3000 python3 handler.py
"""

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Failed(Exception):
    """What to answer bellows with: 429 and 503 are a delay, other 4xx make the
    job a dead letter, 5xx is an attempt."""

    def __init__(self, status, message, retry_after=None):
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


def unsafe(method):
    """Such a call may have had its effect when its answer is lost, and must not
    be made again: a 422 gives the job to a person."""
    return method in ("POST", "PATCH")


def failure(method, path, answer):
    """Reads an answer that is not 2xx. Bellows-Sent is there when it comes
    from bellows itself."""
    said = f"{method} {path}: {answer.code} {answer.read(300).decode('utf-8', 'replace')}"
    retry_after = answer.headers.get("Retry-After")
    if answer.code == 429 or answer.code == 503 and retry_after is not None:
        return Failed(answer.code, said, retry_after or "30")
    sent = answer.headers.get("Bellows-Sent", "true")
    lost = answer.code in (502, 504)
    if answer.code < 500 or unsafe(method) and lost and sent == "true":
        return Failed(422, said)
    return Failed(500, said)


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """The ticket goes to the egress port and nowhere else."""

    def redirect_request(self, *_):
        return None


OPENER = urllib.request.build_opener(NoRedirects, urllib.request.ProxyHandler({}))


class Client:
    """Calls Jira through bellows. It has a ticket for this job and never sees
    a token of Atlassian's."""

    def __init__(self, egress, ticket):
        self.egress, self.ticket = egress, ticket

    def call(self, actor, method, path, body=None, none=None):
        """Returns the answer, or None for the status that is no failure."""
        headers = {"Authorization": f"Bearer {self.ticket}", "Bellows-As": actor, "Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        request = urllib.request.Request(f"{self.egress}/jira{path}", data, headers, method=method)
        try:
            with OPENER.open(request, timeout=60) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as answer:
            if answer.code == none:
                return None
            raise failure(method, path.split("?")[0], answer) from None
        except OSError as error:
            sent = not isinstance(getattr(error, "reason", error), ConnectionRefusedError)
            raise Failed(422 if unsafe(method) and sent else 500, f"{method}: {error}") from None

    def comment(self, actor, key, text):
        paragraph = {"type": "paragraph", "content": [{"type": "text", "text": text}]}
        document = {"type": "doc", "version": 1, "content": [paragraph]}
        self.call(actor, "POST", f"/rest/api/3/issue/{key}/comment", {"body": document})


def triage(event, jira):
    """Answers a bug report, and asks for a description where there is none. A
    job may come twice, so it looks whether the comment is there."""
    name = event["issue"]["key"]
    key = urllib.parse.quote(name, safe="")
    issue = jira.call("app", "GET", f"/rest/api/3/issue/{key}?fields=description,comment", none=404)
    if issue is None:
        return  # it is gone: nothing is left to do
    if issue["fields"].get("description") is not None:
        state, text = "ready", f"Thank you. {name} is in our queue."
    else:
        state, text = "incomplete", f"Thank you. Please describe in {name} what you did and what happened."
    if not any(text in json.dumps(c["body"]) for c in issue["fields"]["comment"]["comments"]):
        jira.comment("app", key, text)
    jira.call("app", "PUT", f"/rest/api/3/issue/{key}/properties/triage", {"state": state})


def hand_over(event, jira):
    """Writes a comment in the name of whoever handed the issue over."""
    key = urllib.parse.quote(event["issue"]["key"], safe="")
    jira.comment(f"user:{event['atlassianId']}", key, "I have handed this over.")


HANDLERS = {"/triage": triage, "/hand-over": hand_over}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        try:
            length = int(self.headers.get("Content-Length", 0))
            job = json.loads(self.rfile.read(length))  # a CloudEvent; its id is the job's
            handler = HANDLERS.get(self.path)
            if handler is None:
                raise Failed(404, f"there is no handler at {self.path}")
            handler(job["data"], Client(self.headers["Bellows-Egress"], self.headers["Bellows-Ticket"]))
            self.answer(204, b"")
        except Failed as error:
            self.fail(error.status, error, error.retry_after)
        except Exception as error:  # anything else is an attempt
            self.fail(500, error)

    def fail(self, status, error, retry_after=None):
        print(f"{self.path}: {error}", file=sys.stderr)
        self.answer(status, json.dumps({"error": {"message": str(error)}}).encode(), retry_after)

    def answer(self, status, body, retry_after=None):
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Handler)
    print(f"listening at http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
