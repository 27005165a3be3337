"""Where the defenses of the gallery come from."""

from saddlepoint.core.paper import Paper

ICLR = "International Conference on Learning Representations"
PAPERS = {
    paper.key: paper
    for paper in (
        Paper(
            key="buckman2018thermometer",
            title="Thermometer Encoding: One Hot Way To Resist Adversarial Examples",
            authors="Buckman, Jacob and Roy, Aurko and Raffel, Colin and Goodfellow, Ian",
            year=2018,
            venue=ICLR,
        ),
        Paper(
            key="guo2018countering",
            title="Countering Adversarial Images using Input Transformations",
            authors="Guo, Chuan and Rana, Mayank and Cisse, Moustapha and van der Maaten, Laurens",
            year=2018,
            venue=ICLR,
            arxiv="1711.00117",
        ),
        Paper(
            key="ma2018characterizing",
            title="Characterizing Adversarial Subspaces Using Local Intrinsic Dimensionality",
            authors="Ma, Xingjun and Li, Bo and Wang, Yisen and Erfani, Sarah M. and Wijewickrema, Sudanthi and "
            "Schoenebeck, Grant and Song, Dawn and Houle, Michael E. and Bailey, James",
            year=2018,
            venue=ICLR,
            arxiv="1801.02613",
        ),
        Paper(
            key="dhillon2018stochastic",
            title="Stochastic Activation Pruning for Robust Adversarial Defense",
            authors="Dhillon, Guneet S. and Azizzadenesheli, Kamyar and Lipton, Zachary C. and Bernstein, Jeremy and "
            "Kossaifi, Jean and Khanna, Aran and Anandkumar, Anima",
            year=2018,
            venue=ICLR,
            arxiv="1803.01442",
        ),
        Paper(
            key="xie2018mitigating",
            title="Mitigating Adversarial Effects Through Randomization",
            authors="Xie, Cihang and Wang, Jianyu and Zhang, Zhishuai and Ren, Zhou and Yuille, Alan",
            year=2018,
            venue=ICLR,
            arxiv="1711.01991",
        ),
        Paper(
            key="song2018pixeldefend",
            title="PixelDefend: Leveraging Generative Models to Understand and Defend against Adversarial Examples",
            authors="Song, Yang and Kim, Taesup and Nowozin, Sebastian and Ermon, Stefano and Kushman, Nate",
            year=2018,
            venue=ICLR,
            arxiv="1710.10766",
        ),
        Paper(
            key="samangouei2018defensegan",
            title="Defense-GAN: Protecting Classifiers Against Adversarial Attacks Using Generative Models",
            authors="Samangouei, Pouya and Kabkab, Maya and Chellappa, Rama",
            year=2018,
            venue=ICLR,
            arxiv="1805.06605",
        ),
        Paper(
            key="papernot2016distillation",
            title="Distillation as a Defense to Adversarial Perturbations against Deep Neural Networks",
            authors="Papernot, Nicolas and McDaniel, Patrick and Wu, Xi and Jha, Somesh and Swami, Ananthram",
            year=2016,
            venue="IEEE Symposium on Security and Privacy",
            arxiv="1511.04508",
        ),
        Paper(
            key="xiao2020kwta",
            title="Enhancing Adversarial Defense by k-Winners-Take-All",
            authors="Xiao, Chang and Zhong, Peilin and Zheng, Changxi",
            year=2020,
            venue=ICLR,
            arxiv="1905.10510",
        ),
        Paper(
            key="athalye2018obfuscated",
            title="Obfuscated Gradients Give a False Sense of Security: Circumventing Defenses to Adversarial Examples",
            authors="Athalye, Anish and Carlini, Nicholas and Wagner, David",
            year=2018,
            venue="International Conference on Machine Learning",
            arxiv="1802.00420",
        ),
        Paper(
            key="tramer2020adaptive",
            title="On Adaptive Attacks to Adversarial Example Defenses",
            authors="Tramer, Florian and Carlini, Nicholas and Brendel, Wieland and Madry, Aleksander",
            year=2020,
            venue="Advances in Neural Information Processing Systems",
            arxiv="2002.08347",
        ),
        Paper(
            key="carlini2017towards",
            title="Towards Evaluating the Robustness of Neural Networks",
            authors="Carlini, Nicholas and Wagner, David",
            year=2017,
            venue="IEEE Symposium on Security and Privacy",
            arxiv="1608.04644",
        ),
    )
}
