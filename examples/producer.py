"""A back end in forty lines: a row of yours and the job that belongs to it are committed together, or not at all.

Serve it with `uvicorn examples.producer:app`; `dramatiq actors examples.producer` works on what it sends.
"""

from uuid import UUID

import dramatiq
import psycopg
from fastapi import FastAPI, HTTPException

from actors import broker, settings

DATABASE_URL = settings.database_url.get_secret_value()
ORDERS = "CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, item text NOT NULL, label text)"

app = FastAPI()


@dramatiq.actor(queue_name="labels", max_retries=3)
def print_label(order_id: int, workspace_id: str) -> None:
    """Print the label of an order, once: a second delivery finds it printed."""
    with psycopg.connect(DATABASE_URL) as connection:
        connection.execute("UPDATE orders SET label = 'label of ' || item WHERE id = %s AND label IS NULL", [order_id])


@app.post("/orders", status_code=202)
def order(workspace_id: UUID, item: str) -> dict[str, str]:
    """Take an order. Should anything fail before the end of the block, there is neither an order nor a job."""
    with psycopg.connect(DATABASE_URL) as connection:
        connection.execute(ORDERS)
        row = connection.execute("INSERT INTO orders (item) VALUES (%s) RETURNING id", [item]).fetchone()
        job = broker.enqueue_in(connection, print_label.message(row[0], workspace_id=str(workspace_id)))
        if item == "nothing":
            raise HTTPException(422, "There is nothing to send.")
    return {"order_id": str(row[0]), "task_id": job.message_id}  # GET /tasks/{task_id} of Headrace's API shows it


@app.post("/orders/{order_id}/label", status_code=202)
def label(workspace_id: UUID, order_id: int) -> dict[str, str]:
    """Print a label again. Outside of a transaction `send` is all there is; it works while Redis is away."""
    return {"task_id": print_label.send(order_id, workspace_id=str(workspace_id)).message_id}
