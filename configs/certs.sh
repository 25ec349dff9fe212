#!/bin/sh
# Makes certificates for trying mutual TLS on this machine: an authority of its own, and a server's and a client's
# certificate for `localhost`, valid for 30 days. Not for production: the authority's key stays in the folder.
#
#   configs/certs.sh FOLDER
set -eu
[ $# -eq 1 ] || { sed -n '2,5p' "$0"; exit 2; }
umask 077
mkdir -p "$1"
cd "$1"

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }

key ca
openssl req -x509 -new -key ca.key -subj "/CN=an authority for trying out" -days 30 -out ca.pem
for name in server client; do
  key "$name"
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >extensions
  openssl req -new -key "$name.key" -subj "/CN=$name" |
    openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile extensions -out "$name.pem" 2>/dev/null
done
rm -f extensions ca.srl
