"""pix2pixHD: photo from label map (and features), Wang et al., CVPR 2018, arXiv:1711.11585."""
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data.base_dataset import Needs
from models import pix2pixHD_flags as flags
from models import weights
from models.adversary import ADVERSARIES
from models.base_model import BaseModel
from models.losses.feature_matching import FeatureMatchingLoss
from models.losses.kl import KLLoss, reparameterize
from models.losses.perceptual import VGG_WEIGHTS, PyramidLoss, VGGLoss
from models.losses.segmentation import parts_l1
from models.losses.texture import texture_loss
from models.networks import build, generator
from models.networks.blocks import ResnetBlock
from models.pix2pixHD_weights import describe
from models.precision import AUTO
from models.regions import Regions, edges, one_hot
from models.styles import flags as style_flags
from models.styles.book import FILE_NAME
from models.styles.drawing import StyledDrawing
from models.styles.styles import Choice
from util import distributed
from util.checkpoint import is_saved, read_consistently
from util.errors import UserError
from util.experiment import experiment_folder
from util.files import file_hash, fingerprint
from util.image_pool import ImagePool
from util.util import tensor2im, tensor2label


@dataclass
class Context:
    """A batch on the device, and intermediate results of the step.

    condition: (N, C, H, W) one-hot labels (or the input picture) and edges. pooled_over: (N, 1, H, W) ids of the regions over
    which features are pooled, or None. image: (N, C, H, W) in [-1, 1], or None. features: (N, feat_num, H, W) read from files,
    or None. source: the label map or input picture, to be shown. fake, pred_*: outputs of G and D.
    """

    condition: torch.Tensor
    pooled_over: torch.Tensor | None
    image: torch.Tensor | None
    features: torch.Tensor | None
    source: torch.Tensor
    fake: torch.Tensor | None = None
    pred_fake: list | None = None
    pred_real: list | None = None


class Pix2PixHDModel(BaseModel, flags=flags):
    """Networks G (generator), D (discriminator) and E (feature encoder); updates G (with E) and D.

    adversarial: whether the discriminator takes part, which it does from epoch --gan_start on; one of segmentation with
    --lambda_gan 0 never does.
    """

    loss_scale = {"D": 0.5}
    abilities = frozenset({"encode", "feature_map", "export_onnx"})
    may_start_fresh = ("D", "E")

    @staticmethod
    def needs(opt):
        """Photos to train on or encode, feature maps if they are read from files; sides that the networks can halve.

        The bottleneck, and the input of the coarsest discriminator, must be larger than one pixel, for instance norm.
        """
        photos = opt.role in ("train", "encode") or opt.use_encoded_image
        halvings = opt.n_up if opt.netG == "region" else \
            opt.n_downsample_global + (opt.n_local_enhancers if opt.netG == "local" else 0)
        multiple = 2 ** max(halvings, opt.n_downsample_E if opt.instance_feat or opt.label_feat else 0)
        return Needs(("image",) * photos + ("feat",) * opt.load_features + ("inst",) * (not opt.no_instance), multiple=multiple,
                     least=max(2 * multiple, 2 ** (opt.num_D - 1) + 1 if opt.role == "train" else 1))

    def __init__(self, opt):
        super().__init__(opt)
        self.use_features = opt.instance_feat or opt.label_feat
        self.drawing = StyledDrawing(self)
        self.frozen: bool | None = None

    def start_training(self):
        """Prepare for training, with the losses."""
        super().start_training()
        self.adversarial = self._is_adversarial(1)
        self._make_losses()

    def start_inference(self):
        """Prepare for inference; at test with the generator's form that the flags select, and the styles."""
        super().start_inference()
        if self.opt.role == "test":
            if self._takes_styles() and not self.opt.export_onnx:
                self.drawing.find_styles()
            self._deploy()

    # networks

    def networks(self):
        """G, D and E to train, G (and E) for inference, E to encode, G and E, if it exists, to export."""
        opt, condition = self.opt, self.channels()[0]
        makers = {}
        if opt.role != "encode" and not (opt.role == "test" and (opt.onnx or opt.engine)):
            makers["G"] = self._make_generator
        if opt.role == "train":
            makers["D"] = lambda: ADVERSARIES[opt.netD].network(opt, condition)
        encodes = opt.role != "test" or (self._has_encoder() if opt.export_onnx else
                                         opt.use_encoded_image or style_flags.swaps(opt))
        if self.use_features and not opt.load_features and encodes:
            makers["E"] = self._make_encoder
        return makers

    def _has_encoder(self) -> bool:
        folder = experiment_folder(self.opt)
        return is_saved(weights.file_of(folder, self.opt.which_epoch, "E", averaged=not self.opt.no_ema))

    def _make_encoder(self):
        opt = self.opt
        if opt.netG == "region":
            return generator(opt.output_nc, opt.feat_num, opt.nef, "region_encoder", opt.n_downsample_E,
                             variational=opt.use_vae)
        return generator(opt.output_nc, opt.feat_num, opt.nef, "encoder", opt.n_downsample_E, norm=opt.norm_E or opt.norm,
                         upsample=opt.upsample, image_skip=opt.feat_skip, variational=opt.use_vae)

    def _make_generator(self):
        opt, (condition, features) = self.opt, self.channels()
        if opt.netG == "region":
            return generator(condition + features, opt.output_nc, opt.ngf, "region", n_up=opt.n_up,
                             edge_nc=int(not opt.no_instance), feat_nc=features, one_hot=bool(opt.label_nc),
                             of_classes=opt.label_feat, norm_G=opt.norm_G, texture=getattr(opt, "texture", 0),
                             ngf_max=opt.ngf_max)
        return generator(condition + features, opt.output_nc, opt.ngf, opt.netG, opt.n_downsample_global, opt.n_blocks_global,
                         opt.n_local_enhancers, opt.n_blocks_local, feat_skip=features if opt.feat_skip else 0,
                         feat_nc=features, norm=opt.norm, upsample=opt.upsample, use_dropout=opt.use_dropout)

    def load_generator(self) -> bool:
        """Load the generator, in addition to the encoder that is loaded; False if there is no such checkpoint.

        Raises UserError if a training has saved in between, as the two would not fit.
        """
        opt = self.opt
        folder = Path(opt.load_pretrain) if opt.load_pretrain else experiment_folder(opt)
        path, beside = (weights.file_of(folder, opt.which_epoch, name, averaged=not opt.no_ema) for name in "GE")
        saved = read_consistently(folder, [path.name, beside.name])
        if path.name not in saved:
            return False
        if weights.digest(saved.get(beside.name, {})) != self.drawing.encoder_digest():
            raise UserError(f"{beside}: has been saved anew since its features were read; run this again")
        net = build(self._make_generator, fresh=False)
        weights.load(net, "G", path, False, self.weights_hint, saved[path.name])
        self.nets["G"], self._files["G"] = net.to(self.device).eval().requires_grad_(False), path
        return True

    def channels(self) -> tuple[int, int]:
        """Channels of the generator's input: the condition's and the features'."""
        opt = self.opt
        return (opt.label_channels or opt.input_nc) + (not opt.no_instance), opt.feat_num if self.use_features else 0

    def _deploy(self):
        """--data_type, --onnx and --engine: another form of the generator."""
        opt = self.opt
        if opt.onnx or opt.engine:
            from models.deploy import EngineGenerator, OnnxGenerator
            self.nets["G"] = OnnxGenerator(opt.onnx) if opt.onnx else EngineGenerator(opt.engine, self.device)
        elif opt.data_type == 8:
            self._deploy_in_eight_bits()
        elif opt.data_type == 16 and self.device.type == "cpu":
            self._deploy_in_sixteen_bits()
        elif opt.data_type == 16:
            self.nets["G"].half()
        elif opt.precision == AUTO and self.device.type == "cpu" and opt.sources["data_type"] == "default":
            self._deploy_kept_eight_bits()

    def _deploy_in_eight_bits(self):
        """Quantise the generator, or say why not and round its weights."""
        from models.cpu_inference import eight_bit
        from models.deploy import round_weights
        quantised, note, measured = eight_bit(self, self._files["G"])
        if quantised is not None:
            self._replace_generator(quantised)
        elif not measured:
            round_weights(self.nets["G"])
        self.notes.append(note)
        self.more_figures["int8"] = measured

    def _deploy_kept_eight_bits(self):
        """Take the generator that --data_type 8 made, where it is the fastest and near enough."""
        from models.cpu_inference import kept_eight_bit
        quantised, note, measured = kept_eight_bit(self, self._files["G"])
        if quantised is not None:
            self._replace_generator(quantised)
            self.notes.append(note)
            self.more_figures["int8"] = measured

    def _deploy_in_sixteen_bits(self):
        """Run the generator in bfloat16, or say why not and round its weights."""
        from models.cpu_inference import sixteen_bit
        self.nets["G"].half().float()
        net, note = sixteen_bit(self)
        if net is not None:
            self._replace_generator(net)
        self.notes.append(note)

    def _replace_generator(self, net):
        self.digests["G"] = self._digest("G")
        self.nets["G"] = net

    def export_onnx(self, path):
        """Write generator, encoder where there is one, and their manifest."""
        from models.export import export
        written = export(self, path)
        for line in filter(None, [*self.notes, self.drawing.outdated_styles()]):
            print(line)
        print(f"{', '.join(map(str, written))}: see docs/onnx.md")

    def weights_hint(self, name, state):
        """The flags that a network's state dict was made with."""
        return describe(name, state)

    def inference_networks(self):
        """All but the discriminator."""
        return [name for name in self.nets if name != "D"]

    def new_encoding(self):
        """What encode_features.py fills and writes."""
        from models.styles.encoding import StyleEncoding
        return StyleEncoding(self)

    def feature_map(self, batch):
        """See StyledDrawing. Raises UserError for features that pictures cannot hold."""
        if self.opt.feat_num not in (1, 3):
            raise UserError(f"--feat_num {self.opt.feat_num}: feature maps are pictures, which hold 1 or 3 numbers; train with "
                            "--feat_num 3")
        return self.drawing.feature_map(batch)

    def inference(self, batch, choice=None):
        """See StyledDrawing."""
        return self.drawing.inference(batch, choice)

    def aims_at_truth(self):
        """See StyledDrawing."""
        return not self._takes_styles() or self.drawing.aims_at_truth()

    def drawn_with(self):
        """See StyledDrawing."""
        return self.drawing.describe() if self._takes_styles() else f"{self.opt.phase}_feat" * self.opt.load_features

    def _takes_styles(self) -> bool:
        return self.use_features and not self.opt.load_features

    @staticmethod
    def aimed(opt):
        """With each photo's own features, unless the flags choose other styles."""
        if not (opt.label_feat or opt.instance_feat) or opt.load_features:
            return opt
        if style_flags.chosen(opt):
            return None
        opt = opt.replace(use_encoded_image=True)
        return opt.replace(needs=Pix2PixHDModel.needs(opt))

    def sources(self):
        """As every model; with the files of the styles that regions may get, and of another form of the generator."""
        opt, choice = self.opt, self.drawing.choice
        takes = choice and (choice.takes_clusters or choice.takes_gaussians or choice.looks > 1)
        styles = (opt.cluster_path, FILE_NAME) if takes else ()
        files = [experiment_folder(opt) / name for name in styles] + [Path(opt.onnx or opt.engine or "")]
        photos = {"the style photos": fingerprint(self.drawing.source.files())} if self.drawing.source else {}
        return {**super().sources(), **{path.name: file_hash(path) for path in files if path.is_file()}, **photos}

    def sampled_inference(self, batch):
        """With styles that are drawn for all regions."""
        return self.drawing.inference(batch, replace(self.drawing.choice, own=False))

    def aimed_inference(self, batch):
        """With the features of each item's own photo; all looks are one."""
        return self.drawing.inference(batch, Choice(own=True))

    def networks_to_compile(self):
        """The generator and the encoder's layers. Not the discriminator: one backward pass needs the gradients of its weights,
        another that of its input; compiled, it would compute both in both."""
        parts = [self.nets["E"].model] if "E" in self.nets and self.opt.netG != "region" else []
        return parts + [self.nets["G"]] * ("G" in self.nets and self.opt.data_type == 32)

    def example_layers(self):
        """A residual block as wide as the generator's, up to 512 channels; or a region generator of two scales."""
        opt = self.opt
        if opt.netG != "region":
            width = min(512, opt.ngf * 2 ** opt.n_downsample_global)
            return build(lambda: ResnetBlock(width, opt.norm)), torch.randn(1, width, 32, 32)
        classes, side = min(64, opt.label_channels or opt.input_nc), 128 if opt.ngf <= 32 else 64
        x = torch.randn(1, classes, side, side)
        x = torch.cat([torch.zeros_like(x).scatter_(1, x.argmax(1, keepdim=True), 1.0), x[:, :1] > 2], 1)
        return build(lambda: generator(classes + 1, opt.output_nc, opt.ngf, "region", n_up=2, norm_G=opt.norm_G)), x

    def make_optimizers(self):
        """Adam for G with E, and for D."""
        def adam(*names):
            params = [p for name in names if name in self.nets for p in self.nets[name].parameters()]
            return torch.optim.Adam(params, lr=self.opt.lr, betas=(self.opt.beta1, self.opt.beta2), fused=True)
        return {"G": adam("G", "E"), "D": adam("D")}

    def _stores_all_gradients(self):
        """Also for --netG region, whose many small parameters would each cost a step of their own."""
        return self.opt.netG == "region" or super()._stores_all_gradients()

    def start_epoch(self, epoch):
        """Constant learning rate, then linear decay; with --niter_fix_global the inner generator is frozen at first."""
        opt = self.opt
        decay = self.linear_decay(epoch)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = (opt.lr_D or opt.lr if name == "D" else opt.lr) * decay
        self.adversarial = self._is_adversarial(epoch)
        self.kld_weight = opt.lambda_kld * min(1.0, (epoch - 1) / opt.kld_warmup if opt.kld_warmup else 1.0)
        frozen = opt.netG == "local" and epoch <= opt.niter_fix_global
        if self.frozen and not frozen:
            self.optimizers["G"].state.clear()  # as in pix2pixHD, which makes a new optimizer for the joint phase
        self.frozen = frozen
        for name, p in self.nets["G"].named_parameters():
            p.requires_grad_(not frozen or name.startswith(f"model{opt.n_local_enhancers}"))

    def _is_adversarial(self, epoch: int) -> bool:
        return epoch >= self.opt.gan_start and (self.opt.lambda_gan > 0 or self.opt.netD == "multiscale")

    def extra_state(self):
        """The image pool, and whether the inner generator is frozen."""
        return {"pool": self.pool.images, "frozen": self.frozen}

    def load_extra_state(self, state):
        """Restore the pool and the phase."""
        self.pool.images = [image.to(self.device) for image in state.get("pool", [])]
        self.frozen = state.get("frozen")

    # losses

    def _make_losses(self):
        opt = self.opt
        self.adversary = ADVERSARIES[opt.netD](opt)
        self.matching_loss = FeatureMatchingLoss(opt.n_layers_D, opt.num_D)
        self.kl_loss, self.kld_weight = KLLoss(opt.kld_free_bits), opt.lambda_kld
        self.pool = ImagePool(opt.pool_size)
        self.vgg_loss, self.pyramid_weight = None, opt.lambda_pyr
        self.pyramid_loss = PyramidLoss()
        if not opt.no_vgg_loss and opt.lambda_feat:
            self._find_vgg()

    def _find_vgg(self):
        from models.networks.vgg import VGG19Features, find_weights
        state, reason = distributed.broadcast_state_dict(lambda: find_weights(self.opt.vgg_weights))
        if state is not None:
            self.vgg_loss = VGGLoss(VGG19Features(state).to(self.device), self.opt.checkpoint_activations)
            return
        self.pyramid_weight += self.opt.lambda_feat * sum(VGG_WEIGHTS)
        self.notes.append(f"No VGG19 weights: {reason}. Training goes on with a pyramid L1 term (G_Pyr) in place of G_VGG, "
                          "which gives blurrier pictures. Give the weights with --vgg_weights FILE, or say --no_vgg_loss to "
                          "have neither")

    def prepare(self, batch):
        """Labels one-hot, edges of instances, photos and features on the device."""
        self.context = self.context_of(batch)

    def context_of(self, batch) -> Context:
        """The context of a batch, for losses and inference; does not change the model."""
        opt = self.opt
        source = self._to_device(batch["label"])
        condition = one_hot(source, opt.label_channels) if opt.label_nc else source
        instances = None if opt.no_instance else self._to_device(batch["inst"])
        if instances is not None:
            condition = torch.cat([condition, edges(instances)], 1)
        pooled_over = (source if opt.label_feat else instances) if self.use_features else None
        return Context(condition, pooled_over, self._to_device(batch["image"]), self._to_device(batch["feat"]), source)

    def _to_device(self, value):
        return value.to(self.device, non_blocking=True) if torch.is_tensor(value) else None

    def generate(self, condition: torch.Tensor, features: torch.Tensor | None) -> torch.Tensor:
        """The generator's output. condition: see Context. features: (N, feat_num, H, W) or None."""
        inputs = condition if features is None else torch.cat([condition, features], 1)
        half = any(p.dtype == torch.float16 for p in self.nets["G"].parameters())  # --data_type 16
        with self.autocast():
            return self.nets["G"](inputs.half() if half else inputs).float()

    def updates(self):
        """G first: it stores the picture and D's predictions in the context, which D's loss uses."""
        return (("G", self.loss_G), ("D", self.loss_D)) if self.adversarial else (("G", self.loss_G),)

    def loss_G(self):  # noqa: N802 - named after the network
        """The adversarial, feature matching, perceptual and other losses of the generator."""
        opt, ctx = self.opt, self.context
        features, divergence = self._training_features(ctx)
        ctx.fake = self.generate(ctx.condition, features)
        terms = self._adversarial_terms() if self.adversarial else {}
        if self.vgg_loss is not None:
            with self.autocast():
                terms["G_VGG"] = self.vgg_loss(ctx.fake, ctx.image) * opt.lambda_feat
        if self.pyramid_weight:
            terms["G_Pyr"] = self.pyramid_loss(ctx.fake, ctx.image) * (self.pyramid_weight / sum(VGG_WEIGHTS))
        if opt.lambda_l1:
            terms["G_L1"] = torch.nn.functional.l1_loss(ctx.fake, ctx.image) * opt.lambda_l1
        for name, weight, loss in (("G_Parts", opt.lambda_parts, parts_l1), ("G_Texture", opt.lambda_texture, texture_loss)):
            if weight:
                terms[name] = loss(ctx.fake, ctx.image, ctx.source[:, 0].long(), opt.label_channels) * weight
        if divergence is not None:
            terms["G_KLD"] = divergence * self.kld_weight
        return terms

    def _adversarial_terms(self):
        """The generator's losses by the discriminator, whose predictions go into the context."""
        opt, ctx = self.opt, self.context
        self.adversary.start(ctx.image)
        ctx.pred_fake = self._predict(ctx.condition, ctx.fake)
        ctx.pred_real = self._predict(ctx.condition, ctx.image)
        terms = {"G_GAN": self.adversary.generator_loss(ctx.pred_fake, ctx.pred_real, ctx.condition) * opt.lambda_gan}
        if opt.netD == "multiscale" and not opt.no_ganFeat_loss:
            terms["G_GAN_Feat"] = self.matching_loss(ctx.pred_fake, ctx.pred_real) * opt.lambda_feat
        return terms

    def _training_features(self, ctx):
        """The painted features of a batch, and the KL loss of a VAE, or None."""
        if not self.use_features or ctx.features is not None:
            return ctx.features, None
        regions = Regions.of(ctx.pooled_over)
        mu, log_variance = self.drawing.posterior(ctx.image, regions)
        if log_variance is None:
            return regions.paint(mu), None
        z = reparameterize(mu, log_variance, torch.randn(mu.shape, device=mu.device).to(mu.dtype))
        return regions.paint(z), self.kl_loss(mu, log_variance, len(ctx.image)).float()

    def loss_D(self):  # noqa: N802 - named after the network
        """The discriminator's losses. Without a pool, the predictions are those of the generator's loss."""
        opt, ctx = self.opt, self.context
        pred_fake, shown = ctx.pred_fake, ctx.condition
        if self.pool.pool_size:
            pair = self.pool.query(torch.cat([ctx.condition, ctx.fake.detach()], 1))
            shown = pair[:, :-opt.output_nc]
            pred_fake = self._predict(shown, pair[:, -opt.output_nc:])
        terms = self.adversary.discriminator_loss(pred_fake, ctx.pred_real, shown, ctx.condition)
        if opt.netD == "segmentation" and opt.lambda_labelmix:
            with self.autocast():
                terms["D_LabelMix"] = opt.lambda_labelmix * self.adversary.label_mix(
                    self.nets["D"], ctx.condition, ctx.image, ctx.fake, ctx.pred_real, ctx.pred_fake)
        ctx.pred_fake = ctx.pred_real = None  # so that the backward pass can free activations
        return {**terms, **self._penalties()}

    def _penalties(self):
        """The gradient penalties, computed every --r1_every steps; otherwise the same terms are zero."""
        opt, ctx = self.opt, self.context
        if not opt.lambda_r1:
            return {}
        if self.steps % opt.r1_every:
            return {term: torch.zeros((), device=self.device) for term in self.adversary.penalty_terms()}
        found = self.adversary.penalties(self.nets["D"], ctx.condition, ctx.image, ctx.fake)
        return {term: value * opt.r1_every for term, value in found.items()}

    def _predict(self, condition, image):
        with self.autocast():
            return self.adversary.predict(self.nets["D"], condition, image)

    # results

    def _shown_input(self, source):
        return tensor2label(source, self.opt.label_channels, colors=self.opt.spec.class_colors or None)

    def current_visuals(self):
        """Label map, drawn and real picture of the first item of the last step."""
        ctx = self.context
        return {"input_label": self._shown_input(ctx.source[0]), "synthesized_image": tensor2im(ctx.fake[0].detach()),
                "real_image": tensor2im(ctx.image[0])}

    def result_visuals(self, batch, outputs, i):
        """Label map, style photo where there is one, drawn picture (or looks) and, where it exists, the real one."""
        drawn = sorted((key for key in outputs if key.startswith("synthesized_image")), key=lambda key: (len(key), key))
        visuals = {"input_label": self._shown_input(batch["label"][i])}
        visuals.update((key, tensor2im(outputs[key][i])) for key in ["style_image"] * ("style_image" in outputs) + drawn)
        if torch.is_tensor(batch["image"][i]):
            visuals["real_image"] = tensor2im(batch["image"][i])
        return {key: image if key == "style_image" else self.unpadded(image, batch, i) for key, image in visuals.items()}

    def new_metrics(self):
        """Colour error of regions, SSIM and PSNR against the real pictures."""
        from util.metrics.pictures import PictureMetrics
        return PictureMetrics(self.opt.spec.class_names or None)
