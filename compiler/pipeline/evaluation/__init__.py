"""`modc eval`: networks side by side on their task.

question           what is asked, and whether it makes sense
answer             from there to networks, images and truths, and to an evaluation of them
contenders         what is compared: bundles, the float network, results of vamp
run                one network on all images, through all CPUs
measure            metrics of class maps and of classifiers on all networks
choose_metrics     which segmentation metrics, where the question leaves that open
top_k              the metric of classifiers, and files of labels
detections         the metric of detectors, on annotations in COCO's format
average_precision  its value for resampled images
result             what is found
"""
