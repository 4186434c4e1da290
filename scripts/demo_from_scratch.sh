#!/usr/bin/env bash
# Train a region generator on the sample faces from nothing, find their styles, draw the held-out faces: minutes on two cores.
# In so short a training a discriminator costs more than it brings. docs/recipes.md says what each flag is for.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
name=${NAME:-demo_from_scratch}

"$python" train.py --name "$name" --dataroot ./datasets/sample_faces/ --gpu_ids "${GPU_IDS:--1}" \
    --label_feat --loadSize 128 --resize_or_crop resize --batchSize 4 --precision auto \
    --netG region --ngf 32 --n_up 4 --nef 16 --n_downsample_E 2 --ndf 16 --n_layers_D 4 --lambda_labelmix 0 \
    --no_vgg_loss --lambda_l1 5 --lambda_parts 5 --lambda_pyr 10 --lambda_gan "${LAMBDA_GAN:-0}" \
    --lr 0.0008 --beta1 0 --beta2 0.99 --ema 0.99 --niter "${NITER:-28}" --niter_decay "${NITER_DECAY:-28}" \
    --print_freq 384 --display_freq 384 --save_epoch_freq 100 --save_latest_freq 100000
"$python" encode_features.py --name "$name" --gpu_ids "${GPU_IDS:--1}"
"$python" test.py --name "$name" --gpu_ids "${GPU_IDS:--1}" --results_dir ./results_sampled/
"$python" test.py --name "$name" --gpu_ids "${GPU_IDS:--1}" --use_encoded_image

echo
echo "Open $(pwd)/results/$name/test_latest/index.html"
