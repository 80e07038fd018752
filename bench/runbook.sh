#!/bin/sh
# What people run today, as they script it: the hottest process, its hottest thread, that thread's stack.
# usage: runbook.sh SECONDS [PID]   (PID: the process to look at, when the hottest is not the one in question)
set -eu
window=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

top -b -c -n 2 -d "$window" >"$folder/top.txt"
# Of two frames only the second is about the window.
hottest=$(awk '/^top -/ { frame++ } frame == 2 && $1 ~ /^[0-9]+$/ { print $1; exit }' "$folder/top.txt")
pid=${2:-$hottest}

top -H -b -n 2 -d "$window" -p "$pid" >"$folder/threads.txt"
# The first line after the header is the hottest, but Debian 12 shows the main thread with the whole process's CPU.
tid=$(awk -v pid="$pid" '/^top -/ { frame++ } frame == 2 && $1 ~ /^[0-9]+$/ && $1 != pid { print $1; exit }' \
	"$folder/threads.txt")

jstack -l "$pid" >"$folder/$pid.stack"
grep -C 8 "nid=$(printf '0x%x' "$tid") " "$folder/$pid.stack"
