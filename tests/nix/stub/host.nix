# Programs of this machine that the stub builds with; the tests put their own Python's path here.
{
  bash = "/bin/bash";
  python = "/usr/bin/python3";
  path = "/usr/local/bin:/usr/bin:/bin";
}
