#Requires -Version 5.1
<#
.SYNOPSIS
Installs a release of iotstream for the current user.
.PARAMETER Prefix
The directory to install into.
.PARAMETER Version
The version to install.
.PARAMETER From
The URL to download from, instead of the project's releases.
#>
[CmdletBinding()]
param(
    [string] $Prefix = (Join-Path $env:LOCALAPPDATA 'Programs\iotstream'),
    [string] $Version = '@VERSION@',
    [string] $From
)

$ErrorActionPreference = 'Stop'
# The progress bar slows downloads down in PowerShell 5.1, which also does not offer TLS 1.2 by itself.
$ProgressPreference = 'SilentlyContinue'
[Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12

# The release script fills it in.
$repository = '@REPOSITORY@'

if ($Version.StartsWith('@')) {
    throw 'This copy belongs to no release: take a release''s, or name -Version.'
}
if (-not $From) {
    if ($repository.StartsWith('@')) {
        throw 'This copy belongs to no release: take a release''s, or name -From.'
    }
    $From = "$repository/releases/download/v$Version"
}

$name = "iotstream-$Version-x86_64-pc-windows-gnu"
$directory = Join-Path ([IO.Path]::GetTempPath()) ([Guid]::NewGuid())
New-Item -ItemType Directory -Path $directory | Out-Null
try {
    $sums = Join-Path $directory 'SHA256SUMS'
    $archive = Join-Path $directory "$name.zip"
    Invoke-WebRequest -UseBasicParsing -Uri "$From/SHA256SUMS" -OutFile $sums
    Invoke-WebRequest -UseBasicParsing -Uri "$From/$name.zip" -OutFile $archive

    $line = Get-Content $sums | Where-Object { $_.EndsWith("  $name.zip") }
    if (-not $line) {
        throw "SHA256SUMS of $From has no $name.zip."
    }
    $wanted = $line.Split(' ')[0]
    $found = (Get-FileHash -Algorithm SHA256 -Path $archive).Hash
    # -ne ignores case.
    if ($found -ne $wanted) {
        throw "The checksum of $name.zip is wrong: nothing was installed."
    }

    Expand-Archive -Path $archive -DestinationPath $directory
    New-Item -ItemType Directory -Force -Path $Prefix | Out-Null
    Copy-Item -Force -Path (Join-Path $directory "$name\iotstream.exe") -Destination $Prefix
}
finally {
    Remove-Item -Recurse -Force -Path $directory
}

$program = Join-Path $Prefix 'iotstream.exe'
Write-Output "Installed $program, version $Version; the checksum is the one in $From/SHA256SUMS."
if (-not $repository.StartsWith('@')) {
    $slug = ([Uri] $repository).AbsolutePath.Trim('/')
    Write-Output "Check that the project built it: gh attestation verify `"$program`" --repo $slug"
}
if (($env:Path -split ';') -notcontains $Prefix) {
    Write-Output "Add $Prefix to PATH, or give ssh the program's full path."
}
