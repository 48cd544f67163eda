#!/usr/bin/env bash
# Makes the GPU node pool of a GKE cluster: pre-emptible ("spot") nodes, none while nobody trains.
#
#   PROJECT=my-project ZONE=europe-west4-a CLUSTER=crater ./gpu-node-pool.sh
#
# Labels and taints are those that crater_assets/executors.yaml selects and tolerates; GPU=... and
# MACHINE=... of another kind must be changed there too (node_selector).
set -euo pipefail
: "${PROJECT:?the Google Cloud project}" "${ZONE:?such as europe-west4-a}" "${CLUSTER:=crater}"
: "${GPU:=nvidia-l4}" "${MACHINE:=g2-standard-8}" "${MAX_NODES:=4}"

# --spot: a third of the price, and may be taken away at any time; a training goes on elsewhere
#   from its last checkpoint. GKE adds the label cloud.google.com/gke-spot=true, but no taint.
# --accelerator: GKE labels the nodes gke-accelerator, taints them nvidia.com/gpu=present:NoSchedule
#   and, with gpu-driver-version, installs the driver ("latest": for CUDA 12.9).
# --disk-size: images of several GB, and the working copies of records and models.
gcloud container node-pools create gpu-spot \
    --project "$PROJECT" --location "$ZONE" --cluster "$CLUSTER" \
    --machine-type "$MACHINE" --spot \
    --accelerator "type=$GPU,count=1,gpu-driver-version=latest" \
    --node-taints cloud.google.com/gke-spot=true:NoSchedule \
    --num-nodes 0 --enable-autoscaling --min-nodes 0 --max-nodes "$MAX_NODES" \
    --disk-type pd-balanced --disk-size 200 \
    --workload-metadata GKE_METADATA \
    --scopes cloud-platform
