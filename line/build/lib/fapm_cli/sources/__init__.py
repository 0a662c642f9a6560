"""Sources: where the pictures to judge come from: files, videos, watched folders, cameras."""
