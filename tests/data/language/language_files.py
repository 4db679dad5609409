"""Small data files of every format."""

import gzip
import json


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_rows(path, rows):
    """Writes rows in the format that the end of the name says."""
    name = path.name
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
        return path
    text = json.dumps(rows, indent=1) if ".json" in name and ".jsonl" not in name else lines(rows)
    content = text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def turn(role, content):
    return {"role": role, "content": content}
