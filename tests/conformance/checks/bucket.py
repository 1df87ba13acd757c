"""Puts a folder into a new bucket of a server that speaks S3: bucket.py ENDPOINT FOLDER BUCKET."""

import sys
from pathlib import Path

import boto3

if __name__ == "__main__":
    endpoint, folder, bucket = sys.argv[1:]
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket=bucket)
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            client.upload_file(str(path), bucket, str(path.relative_to(folder)))
