class Iotstream < Formula
  desc "OpenSSH ProxyCommand helper for Azure IoT Hub device streams"
  homepage "@REPOSITORY@"
  url "@REPOSITORY@/releases/download/v@VERSION@/iotstream-@VERSION@-source.tar.gz"
  version "@VERSION@"
  sha256 "@SHA256:iotstream-@VERSION@-source.tar.gz@"
  license "MIT"

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args
    man1.install Dir["man/*.1"]
    man5.install Dir["man/*.5"]
    man7.install Dir["man/*.7"]
    bash_completion.install "completions/iotstream.bash" => "iotstream"
    zsh_completion.install "completions/_iotstream"
    fish_completion.install "completions/iotstream.fish"
  end

  test do
    assert_equal "iotstream #{version}\n", shell_output("#{bin}/iotstream --version")
  end
end
