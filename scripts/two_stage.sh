#!/usr/bin/env bash
# pix2pixHD's two stages: train a generator with an encoder, write the features of every photo as pictures, then train the
# local enhancer at twice the size, which reads them with --load_features and needs no encoder in its memory.
# At the size here this takes minutes on a laptop; SIZE=512 and the default widths are the paper's (512, then 1024).
#   DATA=./datasets/sample_faces WORK=./checkpoints NAME=two_stage SIZE=64 NITER=8 GPU_IDS=-1 bash scripts/two_stage.sh [flags]
# Flags after the script's name go to both trainings.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
name=${NAME:-two_stage} work=${WORK:-./checkpoints} size=${SIZE:-64} niter=${NITER:-8}
data=${DATA:-./datasets/sample_faces}

# the feature maps are written beside the photos: beside links to them, so that the data set itself stays as it is
copy="$work/${name}_data"
mkdir -p "$copy"
ln -sfn "$(cd "$data" && pwd)"/* "$copy"/

shared=(--checkpoints_dir "$work" --dataroot "$copy" --gpu_ids "${GPU_IDS:--1}")
recipe=(--label_feat --resize_or_crop resize --ndf 16 --no_vgg_loss --lambda_pyr 20 --feat_skip --upsample resize --lr 0.001
        --n_downsample_global 2 --n_blocks_global 4 --niter "$niter" --niter_decay 0 --batchSize 4 --save_epoch_freq 1000)

"$python" train.py --name "$name"_coarse "${shared[@]}" "${recipe[@]}" --loadSize "$size" --ngf 16 --nef 8 --norm_E none \
    --n_downsample_E 3 "$@"
for phase in train test; do
    "$python" precompute_feature_maps.py --name "$name"_coarse "${shared[@]}" --phase "$phase"
done
# half the width: the enhancer's inner generator has --ngf times 2, the coarse stage's own
"$python" train.py --name "$name" "${shared[@]}" "${recipe[@]}" --loadSize $((2 * size)) --netG local --ngf 8 --load_features \
    --load_pretrain "$work/$name"_coarse --niter_fix_global $((niter / 2)) "$@"
"$python" test.py --name "$name" --checkpoints_dir "$work" --load_features --gpu_ids "${GPU_IDS:--1}" \
    --results_dir "${RESULTS:-./results}"
