#!/usr/bin/env bash
# Train a small model on the sample faces, encode their features, draw the held-out ones, and say where the pages are.
# The flags beyond pix2pixHD's are the recipe for small machines; docs/recipes.md says what each is for.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
name=${NAME:-demo}

"$python" train.py --name "$name" --dataroot ./datasets/sample_faces/ --gpu_ids "${GPU_IDS:--1}" \
    --label_feat --loadSize 128 --resize_or_crop resize --batchSize 4 \
    --ngf 16 --ndf 16 --nef 8 --n_downsample_global 3 --n_blocks_global 4 --n_downsample_E 3 \
    --feat_skip --norm_E none --upsample resize --no_vgg_loss --lambda_pyr 20 --lr 0.0006 \
    --niter "${NITER:-7}" --niter_decay "${NITER_DECAY:-7}" --print_freq 96 --display_freq 96 \
    --save_epoch_freq 100 --save_latest_freq 100000
"$python" encode_features.py --name "$name" --gpu_ids "${GPU_IDS:--1}"
"$python" test.py --name "$name" --gpu_ids "${GPU_IDS:--1}" --results_dir ./results_sampled/
"$python" test.py --name "$name" --gpu_ids "${GPU_IDS:--1}" --use_encoded_image

echo
echo "Training:                    checkpoints/$name/web/index.html"
echo "Faces in sampled styles:     results_sampled/$name/test_latest/index.html"
echo "Faces in their own styles:   results/$name/test_latest/index.html"
echo
echo "Open $(pwd)/results/$name/test_latest/index.html"
