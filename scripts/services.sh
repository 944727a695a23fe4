#!/usr/bin/env bash
# Install and start the servers that the tests need. A later version brings PostgreSQL and brokers; they start here.
set -euo pipefail
echo "services: none needed; this version keeps everything in one SQLite file"
