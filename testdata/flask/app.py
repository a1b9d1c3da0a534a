"""The smallest page that shows where it runs: its name from the environment, and the container's host name."""
import os
import socket

from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello():
    name = os.environ.get("NAME", "nobody")
    return f"<h3>Hello {name}!</h3>\n<b>Hostname:</b> {socket.gethostname()}<br/>\n"


if __name__ == "__main__":
    app.run(host=os.environ.get("HOST", "0.0.0.0"), port=int(os.environ.get("PORT", "80")))
