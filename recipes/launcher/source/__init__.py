"""Classes as their files say they are: what they are derived from and what they take, with nothing imported."""
