#!/usr/bin/env bash
# Fine-tune the weights that come with the project on the sample faces, find their styles, draw the held-out faces.
# docs/recipes.md says what each flag is for; scripts/demo_from_scratch.sh trains from nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
name=${NAME:-demo}

"$python" train.py --name "$name" --dataroot ./datasets/sample_faces/ --gpu_ids "${GPU_IDS:--1}" \
    --load_pretrain ./checkpoints/sample_faces/ --label_feat --loadSize 256 --resize_or_crop resize --batchSize 4 \
    --precision auto --no_vgg_loss --lambda_l1 5 --lambda_parts 5 --lambda_pyr 10 --lambda_texture 20 --lambda_gan 0.7 \
    --lambda_labelmix 0 --lr 0.0002 --beta1 0 --beta2 0.99 --ema 0.99 --niter "${NITER:-2}" --niter_decay "${NITER_DECAY:-4}" \
    --print_freq 96 --display_freq 96 --save_epoch_freq 100 --save_latest_freq 100000
"$python" encode_features.py --name "$name" --gpu_ids "${GPU_IDS:--1}"
"$python" test.py --name "$name" --gpu_ids "${GPU_IDS:--1}" --results_dir ./results_sampled/
"$python" test.py --name "$name" --gpu_ids "${GPU_IDS:--1}" --use_encoded_image

echo
echo "Training:                    checkpoints/$name/web/index.html"
echo "Faces in sampled styles:     results_sampled/$name/test_latest/index.html"
echo "Faces in their own styles:   results/$name/test_latest/index.html"
echo
echo "Open $(pwd)/results/$name/test_latest/index.html"
