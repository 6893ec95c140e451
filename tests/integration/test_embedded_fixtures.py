"""The servers that the fixtures hand to every other test."""

import psycopg
import redis


def test_a_fresh_database_knows_half_vectors(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE v (id int, e halfvec(8))")
        connection.execute(
            "INSERT INTO v SELECT i, array_fill(i::real, ARRAY[8])::halfvec FROM generate_series(1, 50) i"
        )
        connection.execute("CREATE INDEX ON v USING hnsw (e halfvec_l2_ops)")
        connection.execute("SET enable_seqscan = off")
        nearest = connection.execute("SELECT id FROM v ORDER BY e <-> array_fill(7.2, ARRAY[8])::halfvec LIMIT 1")
        assert nearest.fetchone() == (7,)


def test_two_databases_share_nothing(empty_database_url: str, postgres_url: str) -> None:
    with psycopg.connect(empty_database_url) as mine, psycopg.connect(postgres_url) as other:
        assert mine.info.dbname != other.info.dbname


def test_each_test_finds_an_empty_doorbell(redis_client: redis.Redis, redis_prefix: str) -> None:
    assert redis_client.dbsize() == 0
    redis_client.set(f"{redis_prefix}:left-behind", 1)


def test_and_the_next_one_too(redis_client: redis.Redis) -> None:
    assert redis_client.dbsize() == 0
