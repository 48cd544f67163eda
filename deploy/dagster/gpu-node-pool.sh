#!/usr/bin/env bash
# Makes the GPU node pool of a GKE cluster, none of whose nodes are there while nobody trains.
#
#   PROJECT=my-project ZONE=europe-west4-a CLUSTER=crater ./gpu-node-pool.sh
#
# MODE=spot (default): pre-emptible nodes. MODE=flex-start: nodes that Google gives for as long as a
# training takes, seven days at most, when it has one; for Jobs in a queue of Kueue (kueue.yaml).
#
# Labels and taints are those that crater_assets/executors.yaml selects and tolerates; GPU=... and
# MACHINE=... of another kind must be changed there too (node_selector).
set -euo pipefail
: "${PROJECT:?the Google Cloud project}" "${ZONE:?such as europe-west4-a}" "${CLUSTER:=crater}"
: "${GPU:=nvidia-l4}" "${MACHINE:=g2-standard-8}" "${MAX_NODES:=4}" "${MODE:=spot}"

case $MODE in
# --spot: a third of the price, and may be taken away at any time; a training goes on elsewhere
#   from its last checkpoint. GKE adds the label cloud.google.com/gke-spot=true, but no taint.
spot) how=(--spot --node-taints cloud.google.com/gke-spot=true:NoSchedule
    --min-nodes 0 --max-nodes "$MAX_NODES") ;;
# --no-enable-autorepair: a repair would end the training; no reservation is eaten up.
flex-start) how=(--flex-start --enable-queued-provisioning --reservation-affinity none
    --location-policy ANY --no-enable-autorepair --total-max-nodes "$MAX_NODES") ;;
*) echo "MODE=$MODE: expected spot or flex-start" >&2; exit 2 ;;
esac

# --accelerator: GKE labels the nodes gke-accelerator, taints them nvidia.com/gpu=present:NoSchedule
#   and, with gpu-driver-version, installs the driver ("latest": for CUDA 12.9).
# --disk-size: images of several GB, and the working copies of records and models.
gcloud container node-pools create "gpu-$MODE" \
    --project "$PROJECT" --location "$ZONE" --cluster "$CLUSTER" \
    --machine-type "$MACHINE" \
    --accelerator "type=$GPU,count=1,gpu-driver-version=latest" \
    --num-nodes 0 --enable-autoscaling "${how[@]}" \
    --disk-type pd-balanced --disk-size 200 \
    --service-account "crater-nodes@$PROJECT.iam.gserviceaccount.com" \
    --workload-metadata GKE_METADATA \
    --scopes cloud-platform
