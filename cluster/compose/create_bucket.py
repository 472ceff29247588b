"""Create the bucket that the first argument names, unless it exists. The AWS_ variables name the store."""

import sys

import boto3

client = boto3.client("s3")
name = sys.argv[1]
if name in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
    print(f"the bucket {name} exists")
else:
    client.create_bucket(Bucket=name)
    print(f"created the bucket {name}")
