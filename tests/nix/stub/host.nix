# Programs of this machine that the stub builds with; the tests put their own Python's path here.
{
  bash = "/bin/bash";
  python = "/usr/bin/python3";
  # The interpreter behind it, if that is a virtual environment, and its version.
  interpreter = "/usr/bin/python3";
  version = "3.11";
  path = "/usr/local/bin:/usr/bin:/bin";
}
