#!/usr/bin/env bash
# Install what tests/grid/test_slurm.py needs: Debian's SLURM and munge. Nothing is started; the test does that itself.
# Without root, or on another system, this does nothing and the test is skipped and says why.
set -eu
command -v slurmctld slurmd sbatch munged > /dev/null && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || { echo "no root or no apt-get: the SLURM test will be skipped"; exit 0; }
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then  # keep the packages from starting daemons of their own
    printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
apt-get install -qq -y --no-install-recommends slurmctld slurmd slurm-client munge > /dev/null
