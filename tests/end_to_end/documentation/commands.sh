#!/usr/bin/env bash
# What public documentation types for a segmentation network, in a folder laid out as it says:
#   build_in/build/*.yaml, build_in/vdsp_params/*.json, build_in/vsx/vsx_inference.py
# usage: commands.sh IMAGES MASKS (folders)
set -euo pipefail
images=$1 masks=$2
mkdir -p workspace
cd workspace

vamc compile ../build_in/build/official_unet3p.yaml --quiet

modc vsx ../build_in/vsx/vsx_inference.py \
    --file_path "$images" --mask_dir "$masks" \
    --model_prefix_path deploy_weights/official_unet3p_int8/mod \
    --vdsp_params_info ../build_in/vdsp_params/official-unet3p-vdsp_params.json \
    --save_dir ./runstream_output --device 0

modc npz --dataset_path "$images" --target_path npz_images --text_path npz_datalist.txt

vamp -m deploy_weights/official_unet3p_int8/mod \
    --vdsp_params ../build_in/vdsp_params/official-unet3p-vdsp_params.json \
    -i 1 p 1 -b 1 -s [3,128,128] --iterations 64

vamp -m deploy_weights/official_unet3p_int8/mod \
    --vdsp_params ../build_in/vdsp_params/official-unet3p-vdsp_params.json \
    -i 1 p 1 -b 1 --datalist npz_datalist.txt --path_output npz_output

python ../build_in/vdsp_params/vamp_eval.py --src_dir "$images" --gt_dir "$masks" \
    --input_npz_path npz_datalist.txt --out_npz_dir npz_output --input_shape 128 128 \
    --draw_dir npz_draw_result --vamp_flag
