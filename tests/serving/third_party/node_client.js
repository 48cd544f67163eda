// A client of Node's own gRPC, with the API's descriptors and nothing else.
// node node_client.js NODE_MODULES DESCRIPTORS ENDPOINT IMAGE [VERSION_LABEL]
const fs = require("fs");
const path = require("path");

const [modules, descriptors, endpoint, image, label] = process.argv.slice(2);
const grpc = require(path.join(modules, "@grpc/grpc-js"));
const loader = require(path.join(modules, "@grpc/proto-loader"));

const loaded = loader.loadFileDescriptorSetFromBuffer(fs.readFileSync(descriptors), {
  keepCase: true, longs: Number, enums: String});
const api = grpc.loadPackageDefinition(loaded);
const client = new api.tensorflow.serving.PredictionService(
  endpoint, grpc.credentials.createInsecure());
const request = {
  model_spec: {name: "crater", version_label: label},
  // Descriptors make of a map what it is on the wire, a list of entries.
  inputs: [{key: "image_bytes", value: {
    dtype: "DT_STRING", tensor_shape: {dim: [{size: 1}]}, string_val: [fs.readFileSync(image)]}}]};

client.Predict(request, {deadline: Date.now() + 20000}, (error, answer) => {
  if (error) {
    console.log(JSON.stringify({code: error.code, details: error.details}));
    return;
  }
  const outputs = Object.fromEntries(answer.outputs.map((entry) => [entry.key, entry.value]));
  const boxes = outputs.detection_boxes;
  const masks = outputs.detection_masks;
  console.log(JSON.stringify({
    version: answer.model_spec.version.value,
    boxes: boxes.float_val, shape: boxes.tensor_shape.dim.map((dim) => dim.size),
    mask_values: masks.int_val.length, in_content: "tensor_content" in masks,
    count: outputs.num_detections.int_val}));
});
