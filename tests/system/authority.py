"""An authority of our own, by the openssl program: issues certificates that are good for a day, or over since one."""

import pathlib
import subprocess


def openssl(*arguments, text=None):
    done = subprocess.run(["openssl", *map(str, arguments)], input=text, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"openssl {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


class Authority:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.file = self.folder / "ca.pem"
        self.key = self.folder / "ca.key"
        self.issued = 0
        openssl(
            *"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj".split(),
            "/CN=An authority for tests",
            *"-addext keyUsage=critical,keyCertSign,cRLSign -keyout".split(),
            self.key,
            "-out",
            self.file,
        )

    def issue(self, *names, kind="ec", days=30, stem=None):
        """Gives { chain, key } as the configuration has it. Another one of that `stem` takes the place of the first."""
        self.issued += 1
        stem = self.folder / (stem or f"{self.issued}")
        chain, key, request, extensions = (stem.with_suffix(suffix) for suffix in (".pem", ".key", ".csr", ".ext"))
        new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256" if kind == "ec" else "-newkey rsa:2048"
        openssl("req", *new.split(), "-nodes", "-subj", f"/CN={names[0]}", "-keyout", key, "-out", request)
        extensions.write_text(
            f"subjectAltName={','.join(('IP:' if name[0].isdigit() else 'DNS:') + name for name in names)}\n"
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        certificate = openssl(
            *["x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key, "-set_serial", self.issued + 1],
            *["-days", days, "-sha256", "-extfile", extensions],
        )
        chain.write_text(certificate + self.file.read_text())
        return {"chain": str(chain), "key": str(key)}
