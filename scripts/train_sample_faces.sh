#!/usr/bin/env bash
# Train the weights in checkpoints/sample_faces/ from nothing: draw the faces, train generator and encoder, find the styles.
# First at 128 pixels (75 minutes), then, grown by a block, at 256 (90 minutes), on one core with 16-bit arithmetic (AVX-512).
# Run again after an interruption, it goes on where it stood. docs/sample_faces.md says what came of it.
#   WORK=./checkpoints DATA=./datasets/many_faces SHIP=./checkpoints/sample_faces FACES=4000 GPU_IDS=-1 \
#       bash scripts/train_sample_faces.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
work=${WORK:-./checkpoints} name=${NAME:-sample_faces_training} data=${DATA:-./datasets/many_faces} faces=${FACES:-4000}
ship=${SHIP:-./checkpoints/sample_faces}

# of another seed than the sample faces (0), whose test faces are thus never trained on
[ -f "$data/dataset.json" ] || "$python" -m datasets.make_sample_faces --out "$data" --train "$faces" --test 100 --size 256 \
    --seed 716160233
train() {  # EXPERIMENT START FLAG...: START is a flag of a training that does not go on, or empty
    local experiment=$1 start=$2
    [ ! -f "$work/$experiment/latest_state.pth" ] || start=--continue_train
    "$python" train.py --name "$experiment" --checkpoints_dir "$work" --dataroot "$data" --gpu_ids "${GPU_IDS:--1}" \
        --max_dataset_size "$faces" --label_feat --resize_or_crop resize --batchSize 4 --precision auto --lambda_labelmix 0 \
        --no_vgg_loss --lambda_l1 5 --lambda_parts 5 --lambda_pyr 10 --lr 0.0008 --beta1 0 --beta2 0.99 --ema 0.998 \
        --print_freq 1000 --display_freq 4000 --save_latest_freq 4000 --save_epoch_freq 1 --nThreads 0 \
        ${start:+"$start"} "${@:3}"
}
small() {
    train "${name}_128" "" --loadSize 128 --netG region --ngf 32 --n_up 4 --feat_num 16 --nef 16 --n_downsample_E 2 \
        --netD segmentation --ndf 16 --n_layers_D 4 --gan_start 3 "$@"
}

if [ ! -d "$work/$name" ]; then
    # two epochs without a discriminator, then with an ever falling learning rate: likeness first, then texture, then both
    small --lambda_gan 0.3 --niter 4 --niter_decay 0
    small --lambda_gan 1 --niter 4 --niter_decay 4
    small --lambda_gan 0.7 --niter 5 --niter_decay 6
    "$python" scripts/ship_weights.py "$work/${name}_128" "$work/${name}_start"
fi
# from its averages, with a block for 256 pixels on top; for one epoch the discriminator rests
train "$name" "--load_pretrain=$work/${name}_start" --loadSize 256 --n_up 5 --gan_start 2 --lambda_gan 1 --lambda_texture 20 \
    --niter 5 --niter_decay 1

# with noise where it passes for texture alone; encoded with the weights in the form in which they are drawn with, so that
# styles and encoder belong together
"$python" scripts/ship_weights.py "$work/$name" "$ship" --noise cloth=1.15,hair=0.4,hat=0.3
"$python" encode_features.py --name "$(basename "$ship")" --checkpoints_dir "$(dirname "$ship")" --dataroot "$data" \
    --gpu_ids "${GPU_IDS:--1}" --max_dataset_size 1000 --no_style_sheet
rm "$ship/features.npy"
