"""Runs moto for the tests: `moto_server` with an administrator, and commands to create users and buckets.

    moto_tool.py serve HOST PORT KEY SECRET BUCKET
    moto_tool.py user ENDPOINT KEY SECRET NAME POLICY      prints the new key and its secret
    moto_tool.py bucket ENDPOINT KEY SECRET NAME plain|versioned|GOVERNANCE:DAYS|COMPLIANCE:DAYS

The behaviour of moto is unchanged. The user, the key and the bucket are created before the server listens, because an
unsigned request cannot create them later.
"""

import os
import sys


def serve(host, port, key, secret, bucket):
    # moto reads this variable when it is imported: every request, from the first on, needs a user with permission.
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.iam.models import iam_backends
    from moto.s3.models import s3_backends
    from moto.server import main

    iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    iam.create_user("aws", "tests")
    iam.put_user_policy(
        "tests", "everything", '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
    )
    # moto generates a random key. It is replaced by the given one.
    access_key = iam.create_access_key("tests")
    del iam.access_keys[access_key.physical_resource_id]
    access_key.access_key_id, access_key.secret_access_key = key, secret
    iam.access_keys[access_key.physical_resource_id] = access_key
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket(bucket, "us-east-1")
    main(["-H", host, "-p", port])


def client(service, endpoint, key, secret):
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, proxies={}),
    )


def user(endpoint, key, secret, name, policy):
    iam = client("iam", endpoint, key, secret)
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="given", PolicyDocument=policy)
    access_key = iam.create_access_key(UserName=name)["AccessKey"]
    print(access_key["AccessKeyId"], access_key["SecretAccessKey"])


def bucket(endpoint, key, secret, name, kind):
    s3 = client("s3", endpoint, key, secret)
    mode, _, days = kind.partition(":")
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=bool(days))
    if kind == "versioned":
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    if days:
        rule = {"DefaultRetention": {"Mode": mode, "Days": int(days)}}
        s3.put_object_lock_configuration(
            Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )


{"serve": serve, "user": user, "bucket": bucket}[sys.argv[1]](*sys.argv[2:])
