"""Certificate authorities and certificates for one run, made with the `openssl` program."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFIGURATION = """
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = {name}
[extensions]
"""
AUTHORITY = "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n"
LEAF = (
    "basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n"
    "extendedKeyUsage = {usage}\nsubjectAltName = {names}\n"
)
LOCAL = ("DNS:localhost", "IP:127.0.0.1")
BOTH_SIDES = "serverAuth, clientAuth"
# For `openssl ca`, which alone can sign for a time that is over.
OVER = """
[ca]
default_ca = this
[this]
database = {directory}/index
new_certs_dir = {directory}
rand_serial = yes
default_md = sha256
policy = policy
[policy]
commonName = supplied
"""


class Authority:
    """Signs certificates; they and their keys lie in `directory` as `<name>.pem` and `<name>.key`."""

    def __init__(self, directory, name="authority"):
        if not shutil.which("openssl"):
            sys.exit("missing: openssl\nrun: apt-get install openssl")
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.certificate, self._key = self._make(name, AUTHORITY, [])

    def issue(self, name, names=LOCAL, days=30, usage=BOTH_SIDES):
        """A certificate for `names` and its key: `(certificate, key)`, paths."""
        signed_by = ["-CA", self.certificate, "-CAkey", self._key]
        return self._make(name, LEAF.format(names=", ".join(names), usage=usage), signed_by, days)

    def issue_expired(self, name):
        """The same, of a time that is over."""
        certificate, key = self.issue(name)
        request, rules, extensions = (self.directory / f"{name}.{suffix}" for suffix in ("csr", "rules", "extensions"))
        run(["openssl", "req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request])
        rules.write_text(OVER.format(directory=self.directory))
        extensions.write_text(LEAF.format(names=", ".join(LOCAL), usage=BOTH_SIDES))
        (self.directory / "index").touch()
        signing = ["openssl", "ca", "-batch", "-config", rules, "-cert", self.certificate, "-keyfile", self._key]
        run([*signing, "-in", request, "-out", certificate, "-notext", "-extfile", extensions,
             "-startdate", "20200101000000Z", "-enddate", "20200201000000Z"])
        return certificate, key

    def _make(self, name, extensions, signed_by, days=30):
        certificate, key = (self.directory / f"{name}.{suffix}" for suffix in ("pem", "key"))
        configuration = self.directory / f"{name}.cnf"
        configuration.write_text(CONFIGURATION.format(name=name) + extensions)
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-config", configuration, "-days", str(days), "-keyout", key, "-out", certificate, *signed_by]
        run(command)
        return certificate, key


def run(command):
    subprocess.run(command, check=True, capture_output=True)


def replace(target, *sources):
    """Puts the contents of `sources` in the place of `target` at once, as certificate managers do."""
    target = Path(target)
    new = target.with_name(target.name + ".new")
    new.touch(mode=0o600)
    new.write_bytes(b"".join(Path(source).read_bytes() for source in sources))
    os.replace(new, target)
